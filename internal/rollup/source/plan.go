package source

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// node is a step of a plan, as EXPLAIN (VERBOSE, FORMAT JSON) writes it.
//
//nolint:tagliatelle // Postgres defines the names.
type node struct {
	Type         string `json:"Node Type"`
	Relationship string `json:"Parent Relationship"`
	Schema       string `json:"Schema"`
	Relation     string `json:"Relation Name"`
	Alias        string `json:"Alias"`
	Index        string `json:"Index Name"`
	IndexCond    string `json:"Index Cond"`
	RecheckCond  string `json:"Recheck Cond"`
	Filter       string `json:"Filter"`
	RemoteSQL    string `json:"Remote SQL"`
	Plans        []node `json:"Plans"`
}

// Types of nodes that matter here.
const (
	nodeSeqScan     = "Seq Scan"
	nodeForeignScan = "Foreign Scan"
	nodeCustomScan  = "Custom Scan"
	nodeMergeJoin   = "Merge Join"
	nodeNestedLoop  = "Nested Loop"
)

// explain plans a query. It is not executed.
func explain(ctx context.Context, tx pgx.Tx, query string) (node, error) {
	var text []byte
	if err := tx.QueryRow(ctx, "EXPLAIN (VERBOSE, FORMAT JSON) "+query).Scan(&text); err != nil {
		return node{}, fmt.Errorf("plan a slice: %w", err)
	}
	var plans []struct {
		Plan node `json:"Plan"` //nolint:tagliatelle // Postgres defines the name.
	}
	if err := json.Unmarshal(text, &plans); err != nil {
		return node{}, fmt.Errorf("read the plan of a slice: %w", err)
	}
	if len(plans) != 1 {
		return node{}, fmt.Errorf("read the plan of a slice: got %d plans instead of one", len(plans))
	}
	return plans[0].Plan, nil
}

// scan is how a plan reads one relation.
type scan struct {
	node

	indexes []node // the scanned index, or the indexes of a bitmap
	bounded bool   // a join looks up rows in it, or stops it early
}

// scans lists how a plan reads each relation.
func (n node) scans() []scan { return n.scansWithin(false) }

func (n node) scansWithin(bounded bool) (all []scan) {
	if n.Relation != "" {
		s := scan{node: n, bounded: bounded}
		if n.Index != "" {
			s.indexes = []node{n}
		}
		for _, below := range n.Plans {
			s.indexes = append(s.indexes, below.bitmaps()...)
		}
		all = append(all, s)
	}
	for _, below := range n.Plans {
		joined := n.Type == nodeMergeJoin || n.Type == nodeNestedLoop && below.Relationship == "Inner"
		all = append(all, below.scansWithin(bounded || joined)...)
	}
	return all
}

// bitmaps lists the index scans below a bitmap heap scan.
func (n node) bitmaps() (all []node) {
	if n.Relation == "" && n.Index != "" {
		all = append(all, n)
	}
	for _, below := range n.Plans {
		if below.Relation == "" {
			all = append(all, below.bitmaps()...)
		}
	}
	return all
}

// conditions returns all conditions of a scan, those of the index first.
func (s scan) conditions() []string {
	all := make([]string, 0, len(s.indexes)+2)
	for _, index := range s.indexes {
		all = append(all, index.IndexCond)
	}
	return append(all, s.RecheckCond, s.Filter)
}

// whole reports whether a scan seems to read all rows of its relation, or all of an index.
func (s scan) whole() bool {
	switch {
	case s.Type == nodeSeqScan:
		return true
	case len(s.indexes) == 0 || s.bounded:
		return false
	}
	for _, index := range s.indexes {
		if index.IndexCond != "" {
			return false
		}
	}
	return true
}

// operand returns the expression that a condition compares with an instant: `e.at` for `((e.kind <> 'x') AND (e.at >= '…'::…))`. It
// returns an empty text if the condition has no such comparison.
func operand(condition, instant string) string {
	end := strings.Index(condition, " >= '"+instant+"'::timestamp with time zone)")
	if end < 0 {
		return ""
	}
	var open []int
	for i := 0; i < end; i++ {
		switch condition[i] {
		case '\'', '"':
			i = skipQuoted(condition, i)
		case '(':
			open = append(open, i)
		case ')':
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
		}
	}
	if len(open) == 0 {
		return ""
	}
	return condition[open[len(open)-1]+1 : end]
}

// enclosed reports whether the last parenthesis of an expression closes the first one.
func enclosed(expression string) bool {
	depth := 0
	for i := 0; i < len(expression); i = token(expression, i) {
		switch expression[i] {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 {
			return i > 0 && i == len(expression)-1
		}
	}
	return false
}

// skipQuoted returns the position of the quote that ends the string or identifier beginning at start. A doubled quote does not end
// it.
func skipQuoted(text string, start int) int {
	quote := text[start]
	for i := start + 1; i < len(text); i++ {
		if text[i] != quote {
			continue
		}
		if i+1 < len(text) && text[i+1] == quote {
			i++
			continue
		}
		return i
	}
	return len(text)
}

// unqualified removes a relation's alias from the columns of an expression: `lower(e.kind)` becomes `lower(kind)`.
func unqualified(expression, alias string) string {
	var out strings.Builder
	for i := 0; i < len(expression); {
		end := token(expression, i)
		name, isName := identifier(expression[i:end])
		if isName && name == alias && end < len(expression) && expression[end] == '.' && (i == 0 || expression[i-1] != '.') {
			after := token(expression, end+1)
			if after == len(expression) || expression[after] != '(' { // A function may be in a schema of that name.
				i = end + 1
				continue
			}
		}
		out.WriteString(expression[i:end])
		i = end
	}
	return out.String()
}

// token returns the end of the string, the identifier or the single other byte that begins at start.
func token(expression string, start int) int {
	if start >= len(expression) {
		return len(expression)
	}
	end := start + 1
	switch c := expression[start]; {
	case c == '\'' || c == '"':
		end = min(skipQuoted(expression, start)+1, len(expression))
	case isWord(c):
		for end < len(expression) && isWord(expression[end]) {
			end++
		}
	}
	return end
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// identifier returns the name that a token stands for, and false if the token is not an identifier.
func identifier(token string) (name string, ok bool) {
	if len(token) >= 2 && token[0] == '"' {
		return strings.ReplaceAll(token[1:len(token)-1], `""`, `"`), true
	}
	return token, token != "" && isWord(token[0])
}
