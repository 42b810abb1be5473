package document

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxDepth is how many levels of nesting a document may have.
const maxDepth = 100

// JSON reads a JSON document into the nodes that YAML would give. It continues after a mistake that it can correct, such as a
// missing comma, so that it can report all mistakes. It returns nil if the rest cannot be read.
func (p *Parser) JSON(content []byte) *yaml.Node {
	s := &scanner{Parser: p, text: string(content), line: 1}
	if !utf8.ValidString(s.text) {
		p.Wrongf(&yaml.Node{}, "the file is not UTF-8")
		return nil
	}
	s.text = strings.TrimPrefix(s.text, "\ufeff")
	node := s.value(0)
	if node == nil {
		return nil
	}
	if s.space(); s.at < len(s.text) {
		s.wrongf("there is more after the end of the document: remove it")
	}
	return node
}

type scanner struct {
	*Parser

	text      string
	at        int
	line      int
	lineStart int // offset
}

func (s *scanner) place() *yaml.Node {
	return &yaml.Node{Line: s.line, Column: utf8.RuneCountInString(s.text[s.lineStart:s.at]) + 1}
}

func (s *scanner) wrongf(format string, arguments ...any) { s.Wrongf(s.place(), format, arguments...) }

// space skips white space and counts lines.
func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case '\n':
			s.line, s.lineStart = s.line+1, s.at+1
		case ' ', '\t', '\r':
		default:
			return
		}
		s.at++
	}
}

// peek returns the next token's first byte, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.at == len(s.text) {
		return 0
	}
	return s.text[s.at]
}

func (s *scanner) value(depth int) *yaml.Node {
	c := s.peek()
	node := s.place()
	switch {
	case depth > maxDepth:
		s.wrongf("the document is nested more than %d levels deep", maxDepth)
		return nil
	case c == '{':
		node.Kind, node.Tag = yaml.MappingNode, "!!map"
		return s.items(node, '}', func() bool { return s.member(node, depth) })
	case c == '[':
		node.Kind, node.Tag = yaml.SequenceNode, "!!seq"
		return s.items(node, ']', func() bool {
			item := s.value(depth + 1)
			node.Content = append(node.Content, item)
			return item != nil
		})
	case c == '"':
		node.Kind, node.Tag = yaml.ScalarNode, "!!str"
		var ok bool
		if node.Value, ok = s.quoted(); !ok {
			return nil
		}
		return node
	case c == 0:
		s.wrongf("the document ends here: a value is missing, or a bracket is not closed")
		return nil
	}
	return s.word(node)
}

// word reads a number, true, false or null.
func (s *scanner) word(node *yaml.Node) *yaml.Node {
	end := s.at
	for end < len(s.text) && !strings.ContainsRune(" \t\r\n,:[]{}\"", rune(s.text[end])) {
		end++
	}
	word := s.text[s.at:end]
	node.Kind, node.Value = yaml.ScalarNode, word
	switch {
	case word == "true", word == "false":
		node.Tag = "!!bool"
	case word == "null":
		node.Tag = "!!null"
	case word != "" && json.Valid([]byte(word)):
		node.Tag = "!!int"
		if strings.ContainsAny(word, ".eE") {
			node.Tag = "!!float"
		}
	case word == "":
		s.wrongf("expected a value here, not %q", s.text[s.at:s.at+1])
		return nil
	default:
		s.wrongf("expected a value here: put text in double quotes")
		node.Tag = "!!str"
	}
	s.at = end
	return node
}

func (s *scanner) member(node *yaml.Node, depth int) bool {
	if s.peek() != '"' {
		s.wrongf("expected a name in double quotes here")
		return false
	}
	key := s.place()
	key.Kind, key.Tag = yaml.ScalarNode, "!!str"
	var ok bool
	if key.Value, ok = s.quoted(); !ok {
		return false
	}
	if s.peek() == ':' {
		s.at++
	} else {
		s.wrongf("a colon is missing between %q and its value", key.Value)
	}
	value := s.value(depth + 1)
	if value == nil {
		return false
	}
	node.Content = append(node.Content, key, value)
	return true
}

// items reads the items between brackets. It reports a missing comma and continues.
func (s *scanner) items(node *yaml.Node, end byte, item func() bool) *yaml.Node {
	s.at++
	if s.peek() == end {
		s.at++
		return node
	}
	for {
		if !item() {
			return nil
		}
		after := s.place()
		c := s.peek()
		if c == end {
			s.at++
			return node
		}
		switch c {
		case ',':
			if s.at++; s.peek() == end {
				s.wrongf("there is a comma before %q: remove the comma", string(end))
			}
		case '"', '{', '[':
			s.Wrongf(after, "a comma is missing here, before the item on line %d", s.place().Line)
			continue
		case 0:
			s.wrongf("the document ends before %q of line %d", string(end), node.Line)
			return nil
		default:
			s.wrongf("expected a comma or %q here, not %q", string(end), s.text[s.at:s.at+1])
			return nil
		}
		if s.peek() == end {
			s.at++
			return node
		}
	}
}

func (s *scanner) quoted() (string, bool) {
	end := s.at + 1
	for end < len(s.text) && s.text[end] != '"' && s.text[end] != '\n' {
		if s.text[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(s.text) || s.text[end] == '\n' {
		s.wrongf("the double quote is not closed in this line")
		return "", false
	}
	var value string
	if err := json.Unmarshal([]byte(s.text[s.at:end+1]), &value); err != nil {
		s.wrongf("the text cannot be read: %s", fmt.Sprint(err))
		return "", false
	}
	s.at = end + 1
	return value, true
}
