package source

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

// The check of a source asks one thing: does an index that leads with the instant find a slice? The indexes are in pg_index, but what to
// look for there is not: a source is any view, which may join or unite tables, read partitions or a foreign table, rename the instant or
// compute it. Only the planner knows which tables a slice reads, and which expression of each is the instant. So the plan is read for
// three things: the relations, the expression that each compares with the instant (operand), and the scans that read all of a relation
// although no index is missing (whole). Costs and estimates of rows are not looked at.

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
	var quote byte // of the text or name that i is in; a doubled quote ends it and begins it again
	for i, depth := end-1, 0; i >= 0; i-- {
		switch c := condition[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == ')':
			depth++
		case c == '(' && depth == 0:
			return condition[i+1 : end]
		case c == '(':
			depth--
		}
	}
	return ""
}

// unqualified removes a relation's alias from the columns of an expression: `lower(e.kind)` becomes `lower(kind)`. What a parenthesis
// follows is a function in a schema of that name.
func unqualified(expression, alias string) string {
	name := regexp.QuoteMeta(alias) + `|"` + regexp.QuoteMeta(strings.ReplaceAll(alias, `"`, `""`)) + `"`
	column := regexp.MustCompile(`(?:^|[^\pL\pN_$."'])((?:` + name + `)\.)(?:"(?:[^"]|"")*"|[\pL\pN_$]+)`)
	var out strings.Builder
	done := 0
	for _, at := range column.FindAllStringSubmatchIndex(expression, -1) {
		if end := at[1]; end == len(expression) || expression[end] != '(' {
			out.WriteString(expression[done:at[2]])
			done = at[3]
		}
	}
	return out.String() + expression[done:]
}
