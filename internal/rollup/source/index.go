package source

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Methods of indexes that can find a span of time.
const (
	methodBtree = "btree"
	methodBRIN  = "brin"
)

// indexed is a relation that has instants, and its indexes.
type indexed struct {
	relation

	scan       scan
	expression string // the instant, as the relation computes it: a column's name or an expression
	indexes    []db.SourceIndexesRow
}

// examine looks up the indexes of the relation that a scan reads. compared is the expression that the scan compares.
func examine(ctx context.Context, tx pgx.Tx, s scan, compared string) (indexed, error) {
	table, err := lookup(ctx, tx, s.Schema, s.Relation)
	if err != nil {
		return indexed{}, err
	}
	x := indexed{relation: table, scan: s, expression: unqualified(compared, s.Alias)}
	for _, column := range table.columns {
		// A cast that only removes the precision or a domain: an index on the column can be used.
		if x.expression == "("+column.Quoted+")::timestamp with time zone" && column.BaseID == timestamptz {
			x.expression = column.Quoted
		}
	}
	if x.indexes, err = db.New(tx).SourceIndexes(ctx, table.ID); err != nil {
		return indexed{}, fmt.Errorf("look up the indexes of %s: %w", table.Quoted, err)
	}
	return x, nil
}

// serving returns an index that finds a span of time: the one that the plan uses, or else any that covers all rows.
func (x indexed) serving() (db.SourceIndexesRow, bool) {
	for _, used := range x.scan.indexes {
		for _, index := range x.indexes {
			if index.Name == used.Index && x.serves(index, unqualified(used.IndexCond, x.scan.Alias)) {
				return index, true
			}
		}
	}
	if x.scan.Type == nodeSeqScan {
		return db.SourceIndexesRow{}, false
	}
	for _, index := range x.indexes {
		if index.Valid && !index.Partial && x.serves(index, "") {
			return index, true
		}
	}
	return db.SourceIndexesRow{}, false
}

// serves reports whether an index finds a span of time without being read completely. In a B-tree, the instant must be the first
// key, or follow keys that the plan compares for equality. In a BRIN index it may be any of the keys.
func (x indexed) serves(index db.SourceIndexesRow, condition string) bool {
	for _, key := range index.Keys {
		switch {
		case plain(key) == plain(x.expression):
			return true
		case index.Method == methodBRIN, strings.Contains(condition, "("+key+" = "):
		default:
			return false
		}
	}
	return false
}

// plain returns an expression without parentheses and blanks, in which plans and indexes differ.
func plain(expression string) string {
	return strings.NewReplacer("(", "", ")", "", " ", "").Replace(expression)
}

// isColumn reports whether the instant is a plain column and not an expression.
func (x indexed) isColumn() bool {
	for _, column := range x.columns {
		if column.Quoted == x.expression {
			return true
		}
	}
	return false
}

// key returns the instant for CREATE INDEX: a column in parentheses, anything else in two pairs of them. Postgres writes every operator
// with parentheses around it, and no cast to an instant ends with one.
func (x indexed) key() string {
	if x.isColumn() || strings.HasPrefix(x.expression, "(") && strings.HasSuffix(x.expression, ")") {
		return "(" + x.expression + ")"
	}
	return "((" + x.expression + "))"
}

// indexable reports whether Postgres can index the instant: it refuses expressions that depend on settings. indexable tries it on an
// empty copy of the table, and returns true if it cannot create the copy.
func (x indexed) indexable(ctx context.Context, tx pgx.Tx) (bool, error) {
	if x.isColumn() {
		return true, nil
	}
	err := inSavepoint(ctx, tx, func(tx pgx.Tx) error {
		if err := execute(ctx, tx, "CREATE TEMPORARY TABLE daymill_source (LIKE "+x.Quoted+")"); err != nil {
			return err
		}
		return execute(ctx, tx, "CREATE INDEX ON pg_temp.daymill_source "+x.key())
	})
	switch code := postgres.Code(err); {
	case code == pgerrcode.InvalidObjectDefinition:
		return false, nil
	case err != nil && code == "":
		return false, fmt.Errorf("try the index: %w", err)
	default:
		return true, nil
	}
}

// broken lists the invalid indexes that a failed CREATE INDEX CONCURRENTLY left.
func (x indexed) broken() (names []string) {
	for _, index := range x.indexes {
		if !index.Valid && x.serves(index, "") {
			names = append(names, index.Quoted)
		}
	}
	return names
}
