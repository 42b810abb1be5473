// Package document reads YAML and JSON documents that people write, from trees of nodes with their line and column. It collects all
// mistakes, each with its file, line and column, and with advice. Packages that read a kind of document use [Parser].
package document

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
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

// YAML reads a YAML document. It returns nil if there is none, or if it cannot be read.
func (p *Parser) YAML(content []byte) *yaml.Node {
	loader, err := yaml.NewLoader(bytes.NewReader(content))
	if err != nil {
		p.syntax(err)
		return nil
	}
	var first, second yaml.Node
	if err := loader.Load(&first); err != nil {
		if !errors.Is(err, io.EOF) {
			p.syntax(err)
		}
		return nil
	}
	switch err := loader.Load(&second); {
	case err == nil:
		p.Wrongf(&second, "another document begins here: write it into a file of its own")
	case !errors.Is(err, io.EOF):
		p.syntax(err)
	}
	if len(first.Content) == 0 {
		return nil
	}
	return first.Content[0]
}

// syntax turns an error of the YAML library into a mistake.
func (p *Parser) syntax(err error) {
	at, text := &yaml.Node{}, err.Error()
	if load := (*yaml.LoadError)(nil); errors.As(err, &load) {
		at.Line, at.Column, text = load.Mark.Line, load.Mark.Column, load.Message
		if load.ContextMsg != "" {
			text = load.ContextMsg + ": " + text
		}
	}
	p.Wrongf(at, "this is not YAML: %s", text)
}
