// Package template makes short texts from changes: the key of a cache, the name of an index, a topic. It is text/template without the
// features that could run for a long time or produce much output: no loops, no nested templates, few functions, bounded output.
package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
)

// Limits.
const (
	MaxSource = 4 << 10 // bytes of a template
	MaxOutput = 4 << 10 // bytes of its output
)

var (
	// ErrTemplate says that a template cannot be used.
	ErrTemplate = errors.New("the template cannot be used")
	// ErrRender says that a template has no output for a change.
	ErrRender = errors.New("the template has no result for this change")
)

// Template makes a text from a change. Its data has the names of the change's JSON: {{ .new.user_id }}, {{ .key.id }}, {{ .table }}.
type Template struct {
	template *template.Template
	source   string
}

// allowed are the functions of text/template that are permitted. The others use unlimited memory, or call their arguments.
//
//nolint:gochecknoglobals // A table.
var allowed = map[string]bool{
	"and": true, "or": true, "not": true, "eq": true, "ne": true, "index": true, "lower": true, "upper": true, "query": true,
}

func functions() template.FuncMap {
	return template.FuncMap{
		"lower": onText(strings.ToLower),
		"upper": onText(strings.ToUpper),
		"query": onText(url.QueryEscape),
	}
}

func onText(function func(string) string) func(any) any {
	return func(value any) any {
		if value, is := value.(null); is {
			return value
		}
		return function(sink.Text(value))
	}
}

// null is JSON's null: false in a condition and, if it is written, a mark that no value of Postgres can contain.
type null []byte

func (null) String() string { return "\x00" }

// Parse parses a template. It refuses constructs that are not permitted.
func Parse(source string) (*Template, error) {
	if len(source) > MaxSource {
		return nil, fmt.Errorf("%w: it has %d bytes, and %d are allowed", ErrTemplate, len(source), MaxSource)
	}
	parsed, err := template.New("").Option("missingkey=error").Funcs(functions()).Parse(source)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrTemplate, strings.TrimPrefix(err.Error(), "template: "))
	}
	if len(parsed.Templates()) > 1 {
		return nil, fmt.Errorf("%w: it defines another template", ErrTemplate)
	}
	if parsed.Tree == nil || strings.TrimSpace(source) == "" {
		return nil, fmt.Errorf("%w: it is empty", ErrTemplate)
	}
	if err := check(parsed.Root); err != nil {
		return nil, err
	}
	return &Template{template: parsed, source: source}, nil
}

// String returns the template as it was written.
func (t *Template) String() string { return t.source }

// check returns an error if a node of the template is not permitted.
func check(node parse.Node) error {
	switch node := node.(type) {
	case *parse.ListNode:
		if node == nil {
			return nil
		}
		for _, child := range node.Nodes {
			if err := check(child); err != nil {
				return err
			}
		}
		return nil
	case *parse.ActionNode:
		return check(node.Pipe)
	case *parse.IfNode:
		return checkBranch(&node.BranchNode)
	case *parse.WithNode:
		return checkBranch(&node.BranchNode)
	case *parse.PipeNode:
		for _, command := range node.Cmds {
			for _, argument := range command.Args {
				if err := check(argument); err != nil {
					return err
				}
			}
		}
		return nil
	case *parse.ChainNode:
		return check(node.Node)
	case *parse.IdentifierNode:
		if !allowed[node.Ident] {
			return fmt.Errorf("%w: the function %s is not allowed: use and, or, not, eq, ne, index, lower, upper, query", ErrTemplate, node.Ident)
		}
		return nil
	case *parse.TextNode, *parse.CommentNode, *parse.FieldNode, *parse.VariableNode, *parse.DotNode, *parse.StringNode,
		*parse.NumberNode, *parse.BoolNode, *parse.NilNode:
		return nil
	default:
		return fmt.Errorf("%w: %s is not allowed: use if, with, fields and functions", ErrTemplate, strings.SplitN(node.String(), " ", 2)[0])
	}
}

func checkBranch(branch *parse.BranchNode) error {
	for _, node := range []parse.Node{branch.Pipe, branch.List, branch.ElseList} {
		if reflect.ValueOf(node).IsNil() {
			continue
		}
		if err := check(node); err != nil {
			return err
		}
	}
	return nil
}

// Data returns a change as templates and conditions see it.
func Data(c change.Change) (map[string]any, error) {
	key, err := sink.Row(c.Key)
	if err != nil {
		return nil, err
	}
	before, err := sink.Row(c.Old)
	if err != nil {
		return nil, err
	}
	after, err := sink.Row(c.New)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"position": c.Position, "stream": c.Stream, "op": string(c.Op), "schema": c.Schema, "table": c.Table,
		"key": key, "old": before, "new": after, "snapshot": c.Snapshot,
	}, nil
}

// Render makes the text for a change. It is an error if the change lacks a column of the template, or if the column is null: a key
// without the value would belong to another row.
func (t *Template) Render(data map[string]any) (string, error) {
	out := &bounded{}
	if err := t.template.Execute(out, wrap(data)); err != nil {
		if errors.Is(err, errTooLong) {
			return "", fmt.Errorf("%w: it is longer than %d bytes", ErrRender, MaxOutput)
		}
		return "", fmt.Errorf("%w: %s", ErrRender, reason(err))
	}
	text := out.String()
	switch {
	case text == "":
		return "", fmt.Errorf("%w: it is empty", ErrRender)
	case strings.Contains(text, null{}.String()):
		return "", fmt.Errorf("%w: one of its values is null", ErrRender)
	default:
		return text, nil
	}
}

// Matters reports whether the template reads the row's old or new values, rather than only the key and names.
func (t *Template) Matters() bool {
	return strings.Contains(t.source, ".new") || strings.Contains(t.source, ".old")
}

// reason returns the part of text/template's message that says what is wrong.
func reason(err error) string {
	if failed, ok := errors.AsType[template.ExecError](err); ok {
		text := failed.Err.Error()
		if i := strings.LastIndex(text, ">: "); i >= 0 {
			return text[i+len(">: "):]
		}
		return text
	}
	return err.Error()
}

// wrap makes values print as their text: an object or an array as JSON, not as Go writes a map.
func wrap(value any) any {
	switch value := value.(type) {
	case nil:
		return null{}
	case map[string]any:
		if value == nil {
			return null{}
		}
		wrapped := make(map[string]any, len(value))
		for name, element := range value {
			wrapped[name] = wrap(element)
		}
		return wrapped
	case []any:
		return sink.Text(value)
	case json.Number:
		return value.String()
	default:
		return value
	}
}

var errTooLong = errors.New("too long")

// bounded is a builder for at most MaxOutput bytes.
type bounded struct{ strings.Builder }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > MaxOutput {
		return 0, errTooLong
	}
	return b.Builder.Write(p)
}
