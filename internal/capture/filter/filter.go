// Package filter decides which changes a consumer gets, by table, operation and a condition on the rows, and which columns it gets,
// under which names.
package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/template"
)

// Limits of a condition.
const (
	MaxCondition = 4 << 10 // bytes
	maxNodes     = 500
)

var (
	// ErrFilter says that a filter cannot be used.
	ErrFilter = errors.New("the filter cannot be used")
	// ErrCondition says that a condition is neither true nor false for a change.
	ErrCondition = errors.New("the condition cannot be judged for this change")
)

// Config is a filter as written in the settings. The zero value lets everything through.
type Config struct {
	Tables []string    `json:"tables,omitempty"` // see Pattern
	Ops    []change.Op `json:"ops,omitempty"`    // all if empty
	// Columns are the columns to send, in addition to the key's; all except Without if empty.
	Columns []string `json:"columns,omitempty"`
	Without []string `json:"without,omitempty"`
	// Condition is an expression (github.com/expr-lang/expr) that is true for what is sent: new.total > 100 && op != "delete".
	Condition string            `json:"condition,omitempty"`
	Rename    map[string]string `json:"rename,omitempty"` // of columns
}

// Filter is a filter that has been checked.
type Filter struct {
	config    Config
	tables    Tables
	condition *vm.Program
	shapes    bool
}

// environment returns the variables of a condition. Only the types of the values matter.
func environment() map[string]any {
	return map[string]any{
		"position": int64(0), "stream": "", "op": "", "schema": "", "table": "", "snapshot": false,
		"key": map[string]any{}, "old": map[string]any{}, "new": map[string]any{},
	}
}

// New checks a filter.
func New(config Config) (*Filter, error) {
	f := &Filter{config: config, shapes: len(config.Columns)+len(config.Without)+len(config.Rename) > 0}
	var err error
	if f.tables, err = ParseTables(config.Tables); err != nil {
		return nil, err
	}
	for _, op := range config.Ops {
		switch op {
		case change.Insert, change.Update, change.Delete, change.Truncate, change.Sweep:
		default:
			return nil, fmt.Errorf("%w: %q is not an operation: use insert, update, delete or truncate", ErrFilter, op)
		}
	}
	if len(config.Columns) > 0 && len(config.Without) > 0 {
		return nil, fmt.Errorf("%w: give either columns or without, not both", ErrFilter)
	}
	names := map[string]bool{}
	for from, to := range config.Rename {
		if to == "" || names[to] {
			return nil, fmt.Errorf("%w: rename gives column %q the name %q, which is empty or already used", ErrFilter, from, to)
		}
		names[to] = true
	}
	if config.Condition == "" {
		return f, nil
	}
	if f.condition, err = compile(config.Condition); err != nil {
		return nil, err
	}
	return f, nil
}

// compile compiles a condition. It allows only those of expr's functions that read one value, because loops over the values of a row or
// over ranges could run for a long time.
func compile(condition string) (*vm.Program, error) {
	if len(condition) > MaxCondition {
		return nil, fmt.Errorf("%w: the condition has %d bytes, and at most %d are allowed", ErrFilter, len(condition), MaxCondition)
	}
	options := []expr.Option{expr.Env(environment()), expr.AsBool(), expr.MaxNodes(maxNodes), expr.DisableAllBuiltins()}
	for _, name := range []string{"abs", "ceil", "floor", "round", "int", "float", "string", "len", "lower", "upper", "trim", "hasPrefix", "hasSuffix"} {
		options = append(options, expr.EnableBuiltin(name))
	}
	var loops loops
	options = append(options, expr.Optimize(false), expr.Patch(&loops))
	program, err := expr.Compile(condition, options...)
	if err != nil {
		return nil, fmt.Errorf("%w: the condition: %s", ErrFilter, firstLine(err.Error()))
	}
	if loops.found != "" {
		return nil, fmt.Errorf("%w: the condition: %s is not allowed, because it could run for a long time", ErrFilter, loops.found)
	}
	return program, nil
}

// loops finds functions that loop over a list or create one. No option of expr disables them.
type loops struct{ found string }

// Visit checks a node of a condition.
func (l *loops) Visit(node *ast.Node) {
	switch node := (*node).(type) {
	case *ast.PredicateNode:
		l.found = "a function that takes a predicate"
	case *ast.BinaryNode:
		if node.Operator == ".." {
			l.found = "a range"
		}
	default:
	}
}

// Named returns the columns that a condition names, as new.total or old["total"], sorted; none if the condition cannot be parsed.
func Named(condition string) []string {
	tree, err := parser.Parse(condition)
	if err != nil {
		return nil
	}
	named := columns{}
	ast.Walk(&tree.Node, named)
	return slices.Sorted(maps.Keys(named))
}

// columns are the columns that a condition names.
type columns map[string]bool

// Visit adds a node's column.
func (c columns) Visit(node *ast.Node) {
	member, is := (*node).(*ast.MemberNode)
	if !is {
		return
	}
	row, of := member.Node.(*ast.IdentifierNode)
	name, literal := member.Property.(*ast.StringNode)
	if of && literal && (row.Value == "new" || row.Value == "old") {
		c[name.Value] = true
	}
}

// Takes reports whether changes of a table can pass, before any of them is read.
func (f *Filter) Takes(schema, table string) bool { return f.tables.Match(schema, table) }

// Apply returns the change as it is sent, or false if it is not sent. It returns ErrCondition if the condition fails.
func (f *Filter) Apply(c change.Change) (change.Change, bool, error) {
	if !f.tables.Match(c.Schema, c.Table) || len(f.config.Ops) > 0 && !slices.Contains(f.config.Ops, c.Op) {
		return c, false, nil
	}
	if f.condition != nil {
		data, err := template.Data(c)
		if err != nil {
			return c, false, fmt.Errorf("%w: %w", ErrCondition, err)
		}
		for name, value := range data {
			data[name] = number(value)
		}
		result, err := expr.Run(f.condition, data)
		if err != nil {
			return c, false, fmt.Errorf("%w: %s", ErrCondition, firstLine(err.Error()))
		}
		if is, _ := result.(bool); !is {
			return c, false, nil
		}
	}
	if !f.shapes {
		return c, true, nil
	}
	return f.shape(c)
}

// number converts a number of JSON for use in a condition. Whole numbers of up to 64 bits are exact.
func number(value any) any {
	switch value := value.(type) {
	case json.Number:
		if whole, err := strconv.ParseInt(value.String(), 10, 64); err == nil {
			return whole
		}
		float, err := value.Float64()
		if err != nil {
			return value.String()
		}
		return float
	case map[string]any:
		for name, element := range value {
			value[name] = number(element)
		}
		return value
	case []any:
		for i, element := range value {
			value[i] = number(element)
		}
		return value
	default:
		return value
	}
}

// shape leaves out columns, and renames others.
func (f *Filter) shape(c change.Change) (change.Change, bool, error) {
	key, err := sink.Row(c.Key)
	if err != nil {
		return c, false, fmt.Errorf("%w: %w", ErrCondition, err)
	}
	sent := func(name string) bool {
		if _, is := key[name]; is {
			return true
		}
		if len(f.config.Columns) > 0 {
			return slices.Contains(f.config.Columns, name)
		}
		return !slices.Contains(f.config.Without, name)
	}
	var unchanged []string
	for _, name := range c.Unchanged {
		if sent(name) {
			unchanged = append(unchanged, f.name(name))
		}
	}
	c.Unchanged = unchanged
	for _, row := range []*json.RawMessage{&c.Key, &c.Old, &c.New} {
		if *row, err = f.rewrite(*row, sent); err != nil {
			return c, false, fmt.Errorf("%w: %w", ErrCondition, err)
		}
	}
	return c, true, nil
}

func (f *Filter) name(name string) string {
	if to, has := f.config.Rename[name]; has {
		return to
	}
	return name
}

// rewrite keeps the columns of a row that are sent, in their order and with their values unchanged.
func (f *Filter) rewrite(row json.RawMessage, sent func(string) bool) (json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(row))
	if len(row) == 0 {
		return row, nil
	}
	token, err := decoder.Token()
	if err != nil || token == nil {
		return row, err
	}
	out := bytes.NewBufferString("{")
	seen := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		name, _ := token.(string)
		if !sent(name) {
			continue
		}
		if name = f.name(name); seen[name] {
			return nil, fmt.Errorf("two columns would have the name %q: change rename", name)
		}
		seen[name] = true
		if out.Len() > 1 {
			out.WriteByte(',')
		}
		quoted, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		out.Write(quoted)
		out.WriteByte(':')
		out.Write(value)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

func firstLine(text string) string {
	line, _, _ := bytes.Cut([]byte(text), []byte("\n"))
	return string(line)
}
