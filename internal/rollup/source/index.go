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

// Methods of indexes that answer for a span of time.
const (
	methodBtree = "btree"
	methodBRIN  = "brin"
)

// indexed is a relation that holds instants, and what is known of its indexes.
type indexed struct {
	relation

	scan       scan
	expression string // the instant, as the relation computes it: a column's name, or more
	indexes    []db.SourceIndexesRow
}

// examine looks up the indexes of the relation that a scan reads. The instant is what the scan compares.
func examine(ctx context.Context, tx pgx.Tx, s scan, compared string) (indexed, error) {
	table, err := lookup(ctx, tx, s.Schema, s.Relation)
	if err != nil {
		return indexed{}, err
	}
	x := indexed{relation: table, scan: s, expression: unqualified(compared, s.Alias)}
	for _, column := range table.columns {
		// A cast that only takes off the precision, or a domain: an index on the column serves.
		if x.expression == "("+column.Quoted+")::timestamp with time zone" && column.BaseID == timestamptz {
			x.expression = column.Quoted
		}
	}
	if x.indexes, err = db.New(tx).SourceIndexes(ctx, table.ID); err != nil {
		return indexed{}, fmt.Errorf("look up the indexes of %s: %w", table.Quoted, err)
	}
	return x, nil
}

// serving returns the index that finds a span of time: the one the plan uses if it does, else any that covers all rows.
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

// serves reports whether an index finds a span of time without being read whole. In a B-tree the instant has to come
// first, or after keys that the plan compares for equality; in a BRIN index it may be any of the keys.
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

// plain makes two ways of writing an expression equal: parentheses and blanks differ between plans and indexes.
func plain(expression string) string {
	return strings.NewReplacer("(", "", ")", "", " ", "").Replace(expression)
}

// isColumn reports whether the instant is a column as it is, rather than an expression.
func (x indexed) isColumn() bool {
	for _, column := range x.columns {
		if column.Quoted == x.expression {
			return true
		}
	}
	return false
}

// key is the instant as CREATE INDEX wants it: a column in parentheses, anything else in two pairs.
func (x indexed) key() string {
	if x.isColumn() || enclosed(x.expression) {
		return "(" + x.expression + ")"
	}
	return "((" + x.expression + "))"
}

// indexable reports whether Postgres would index the instant: it refuses expressions that depend on settings. It is
// tried out on an empty copy of the table, and where that cannot be made the answer is yes.
func (x indexed) indexable(ctx context.Context, tx pgx.Tx) (bool, error) {
	if x.isColumn() {
		return true, nil
	}
	err := attempt(ctx, tx, func(tx pgx.Tx) error {
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

// broken lists the indexes that CREATE INDEX CONCURRENTLY left behind when it failed.
func (x indexed) broken() (names []string) {
	for _, index := range x.indexes {
		if !index.Valid && x.serves(index, "") {
			names = append(names, index.Quoted)
		}
	}
	return names
}
