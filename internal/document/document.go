// Package document reads YAML and JSON documents that people write, from trees of nodes with their line and column. It collects all
// mistakes, each with its file, line and column, and with advice. Packages that read a kind of document use [Parser].
package document

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Mistake is one mistake in a file.
type Mistake struct { //nolint:errname // Users call it a mistake.
	File         string
	Line, Column int
	Text         string // one sentence that says what is wrong and what would be right
}

func (m Mistake) Error() string { return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Text) }

// Mistakes are all mistakes of a document, in the order of the file.
type Mistakes []Mistake //nolint:errname // See Mistake.

func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, mistake := range m {
		lines[i] = mistake.Error()
	}
	return strings.Join(lines, "\n")
}

// Sort puts mistakes into the order of their files.
func (m Mistakes) Sort() {
	slices.SortStableFunc(m, func(a, b Mistake) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column)
	})
}

// Parser reads nodes and collects mistakes. File is the document's name.
type Parser struct {
	File     string
	mistakes Mistakes
}

// Err returns the mistakes, in the order of the file, as an error of type Mistakes; nil if there are none.
func (p *Parser) Err() error {
	if len(p.mistakes) == 0 {
		return nil
	}
	p.mistakes.Sort()
	return p.mistakes
}

// Wrongf records a mistake at the place of a node.
func (p *Parser) Wrongf(at *yaml.Node, format string, arguments ...any) {
	p.mistakes = append(p.mistakes, Mistake{File: p.File, Line: max(1, at.Line), Column: max(1, at.Column), Text: fmt.Sprintf(format, arguments...)})
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

// Syntax turns the message of the YAML library, which contains the line, into a mistake.
func (p *Parser) Syntax(err error) {
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if match := yamlLine.FindStringSubmatch(text); match != nil {
		_, _ = fmt.Sscanf(match[1], "%d", &line)
		text = strings.Replace(text, match[0], "", 1)
	}
	p.Wrongf(&yaml.Node{Line: line, Column: 1}, "this is not YAML: %s", text)
}
