// Package postgres is a sink that keeps tables in Daymill's own or another Postgres equal to the rows of a stream. It creates and extends
// the tables. Each row stores the position of its last change, and a deleted row leaves a tombstone for a while, so it is safe to deliver
// a batch twice. If the log is in the same database, its position moves in the same transaction.
package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/tidwall/gjson"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	database "github.com/daymill/daymill/internal/postgres"
)

// Names of the table and the columns that Daymill adds to a target schema.
const (
	PositionColumn = "_daymill_position"
	TombstoneTable = "_daymill_tombstone"
)

// batch is how many changes a transaction writes at most.
const batch = 2_000

// DefaultTombstones is how long the tombstone of a deleted row is kept.
const DefaultTombstones = 24 * time.Hour

// ErrTable says that Daymill did not create a target table, or that the table has another key.
var ErrTable = errors.New("the target table cannot be used")

// Column is a column of a source table.
type Column = sink.Column

// Config configures the sink. DB has no default.
type Config struct {
	DB *database.DB
	// Schema is the target schema; the source's schema if empty. It is created if it is missing.
	Schema string
	// Columns returns the columns of a change's table at that change, which tx writes. If Columns is nil or returns none, they are derived
	// from the row's JSON.
	Columns func(ctx context.Context, tx pgx.Tx, c change.Change) ([]Column, error)
	// Tombstones is how long the tombstone of a deleted row is kept; DefaultTombstones if 0.
	Tombstones time.Duration
	// Repair also overwrites rows that have the same position as a change, because somebody else may have modified them since.
	Repair bool
}

// Postgres writes rows.
type Postgres struct {
	config Config
	tables map[string]*table // by the name of the source table
	// populate makes the sink read all rows with jsonb_populate_record, for tests that compare the two ways.
	populate bool
}

// New returns a sink. The caller closes the database.
func New(config Config) *Postgres {
	config.Tombstones = cmp.Or(config.Tombstones, DefaultTombstones)
	return &Postgres{config: config, tables: map[string]*table{}}
}

// Sweeps returns true: a sweep deletes the rows that a snapshot did not find.
func (*Postgres) Sweeps() bool { return true }

// Batch returns a size at which a transaction's fixed costs are a small part.
func (*Postgres) Batch() int { return batch }

// Close does nothing, because the database belongs to the caller.
func (*Postgres) Close() error { return nil }

// Deliver writes changes in its own transaction.
func (p *Postgres) Deliver(ctx context.Context, changes []change.Change) (refusals []sink.Refusal, err error) {
	err = p.config.DB.Tx(ctx, func(tx pgx.Tx) error {
		// A crash must not take back what the caller then records as delivered.
		if err := database.Durable(ctx, tx); err != nil {
			return err
		}
		refusals, err = p.DeliverTx(ctx, tx, changes)
		return err
	})
	if err != nil {
		p.tables = map[string]*table{} // Tables that the transaction created were rolled back with it.
		return nil, failure(err)
	}
	return refusals, nil
}

// Make creates or extends the table that a change belongs to, without writing the change.
func (p *Postgres) Make(ctx context.Context, tx pgx.Tx, c change.Change) error {
	if _, err := p.table(ctx, tx, c, nil); err != nil {
		return fmt.Errorf("create the target table: %w", err)
	}
	return nil
}

// DeliverTx writes changes in the caller's transaction, which must be one of Config.DB.
func (p *Postgres) DeliverTx(ctx context.Context, tx pgx.Tx, changes []change.Change) ([]sink.Refusal, error) {
	collapsed, err := sink.Collapse(changes)
	if err != nil {
		return nil, err
	}
	var parked sink.Parked
	if err := p.halve(ctx, tx, collapsed, &parked); err != nil {
		p.tables = map[string]*table{}
		return nil, err
	}
	return parked.Refusals(), nil
}

// halve writes changes within a savepoint. After an error, it writes each half, to find the changes that cause it.
func (p *Postgres) halve(ctx context.Context, tx pgx.Tx, changes []sink.Collapsed, parked *sink.Parked) error {
	if len(changes) == 0 {
		return nil
	}
	err := pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
		if err := p.write(ctx, savepoint, changes); err != nil {
			return err
		}
		// Otherwise a deferred constraint would refuse a row only when the whole transaction commits.
		_, err := savepoint.Exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE")
		return err
	})
	if err == nil {
		return nil
	}
	p.tables = map[string]*table{}
	reason, answer, is := refusal(err)
	switch {
	case !is:
		return err
	case len(changes) == 1:
		parked.RefuseAll(changes[0], reason, sink.Answer([]byte(answer)))
		return nil
	}
	middle := len(changes) / 2
	if err := p.halve(ctx, tx, changes[:middle], parked); err != nil {
		return err
	}
	return p.halve(ctx, tx, changes[middle:], parked)
}

// errRow says that a change cannot be written to any target.
var errRow = errors.New("the row cannot be written")

// refusal reports whether the row causes an error, and if so returns the reason and the server's answer.
func refusal(err error) (reason, answer string, is bool) {
	if errors.Is(err, errRow) {
		return err.Error(), "", true
	}
	if table := (*tableError)(nil); errors.As(err, &table) {
		return "", "", false
	}
	code := database.Code(err)
	if pgerrcode.IsDataException(code) || pgerrcode.IsIntegrityConstraintViolation(code) || code == pgerrcode.ProgramLimitExceeded ||
		code == pgerrcode.DatatypeMismatch || code == pgerrcode.UntranslatableCharacter || code == pgerrcode.RaiseException {
		return "Postgres refuses the row (" + code + ")", message(err), true
	}
	return "", "", false
}

// group is the rows that one statement writes.
type group struct {
	table *table
	rows  []row
}

// write writes changes, grouped into a statement for each table, kind, and set of columns.
func (p *Postgres) write(ctx context.Context, tx pgx.Tx, changes []sink.Collapsed) error {
	var groups []group
	for _, c := range changes {
		values, err := parse(c.Change)
		if err != nil {
			return err
		}
		t, err := p.table(ctx, tx, c.Change, values)
		if err != nil {
			return err
		}
		r, err := t.row(c.Change, values, p.populate)
		if err != nil {
			return err
		}
		at := len(groups) - 1
		for at >= 0 && (groups[at].table.name != t.name || !groups[at].rows[0].fits(r)) {
			at--
		}
		if at < 0 {
			at, groups = len(groups), append(groups, group{})
		}
		groups[at].table, groups[at].rows = t, append(groups[at].rows, r)
	}
	for _, g := range groups {
		var err error
		switch g.rows[0].op {
		case change.Delete:
			err = g.table.delete(ctx, tx, g.rows, p.config.Tombstones)
		case change.Truncate:
			err = g.table.truncate(ctx, tx, g.rows)
		case change.Sweep:
			err = g.table.sweep(ctx, tx, g.rows)
		default:
			err = g.table.upsert(ctx, tx, g.rows)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// failure returns an error without the values of rows that the server's message has.
func failure(err error) error {
	if code := database.Code(err); code != "" {
		return fmt.Errorf("the target Postgres answered %s: %s", code, message(err))
	}
	return fmt.Errorf("write to the target Postgres: %w", err)
}

// row is a change as it is written.
type row struct {
	op       change.Op // Update for an insert, which the same statement writes
	position int64
	key      string
	columns  []string // that the change has, sorted
	// texts are the values of columns; NULL for those in slow. Only jsonb_populate_record can read the slow ones, from the object rest.
	texts []pgtype.Text
	slow  []string
	rest  string
}

// fits reports whether one statement writes both rows.
func (r row) fits(other row) bool {
	return r.op == other.op && slices.Equal(r.columns, other.columns) && slices.Equal(r.slow, other.slow)
}

// field is a value of a row.
type field struct {
	name  string
	value gjson.Result
}

// parse returns the values of a change's row, sorted by name; none if it has none.
func parse(c change.Change) ([]field, error) {
	if c.Op == change.Delete || c.Op == change.Truncate || c.Op == change.Sweep {
		return nil, nil
	}
	object := gjson.ParseBytes(c.New)
	if !object.IsObject() || !gjson.Valid(object.Raw) {
		return nil, fmt.Errorf("%w: it is not a JSON object", errRow)
	}
	var fields []field
	object.ForEach(func(name, value gjson.Result) bool {
		fields = append(fields, field{name.String(), value})
		return true
	})
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return fields, nil
}

func (t *table) row(c change.Change, fields []field, populate bool) (row, error) {
	r := row{op: c.Op, position: c.Position, key: string(c.Key)}
	switch c.Op {
	case change.Truncate:
		r.key = "null"
		return r, nil
	case change.Sweep:
		before, err := sink.SweptUpTo(c)
		if err != nil {
			return r, fmt.Errorf("%w: %w", errRow, err)
		}
		r.position = before
		return r, nil
	case change.Delete:
		return r, nil
	default:
		r.op = change.Update
	}
	r.columns, r.texts = make([]string, len(fields)), make([]pgtype.Text, len(fields))
	slow := map[string]json.RawMessage{}
	for i, f := range fields {
		if !t.columns[f.name] {
			return r, fmt.Errorf("%w: the target has no column %q", errRow, f.name)
		}
		r.columns[i] = f.name
		text, fast := input(f.value, t.types[f.name])
		if fast && !populate {
			r.texts[i] = text
		} else {
			r.slow = append(r.slow, f.name)
			slow[f.name] = json.RawMessage(f.value.Raw)
		}
	}
	switch {
	case len(slow) == 0:
	case len(slow) == len(fields):
		r.rest = string(c.New)
	default:
		rest, err := json.Marshal(slow)
		if err != nil {
			return r, fmt.Errorf("%w: %w", errRow, err)
		}
		r.rest = string(rest)
	}
	return r, nil
}
