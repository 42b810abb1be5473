package view

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	pgsink "github.com/daymill/daymill/internal/capture/sink/postgres"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view/plan"
)

// mirror keeps copies of another database's tables in the target, with the columns that views need.
type mirror struct {
	stream string
	sink   *pgsink.Postgres
	needed map[string]plan.Source // by the mirror's name
}

// newMirror returns the mirrors of a stream's tables. With overwrite, changes also overwrite rows of the same position.
func newMirror(target *postgres.DB, stream string, overwrite bool) *mirror {
	m := &mirror{stream: stream, needed: map[string]plan.Source{}}
	m.sink = pgsink.New(pgsink.Config{DB: target, Repair: overwrite, Columns: func(_ context.Context, _ pgx.Tx, c change.Change) ([]pgsink.Column, error) {
		source := m.needed[c.Table]
		columns := make([]pgsink.Column, len(source.Columns))
		for i, column := range source.Columns {
			columns[i] = pgsink.Column{Name: column.Name, Type: column.Type}
		}
		return columns, nil
	}})
	return m
}

// deliver writes changes to the mirrors. Each table of a view has its own mirrors. A mirror may refuse a row: a change may be older than the label of an
// enum, or the target's type may lack one. Then all rows are compared, those of the mirrors with their tables, too.
func (m *mirror) deliver(ctx context.Context, tx pgx.Tx, versions []Version, changes []change.Change) error {
	var copied []change.Change
	var owners []Version // the version of each of them
	for _, c := range changes {
		for _, v := range versions {
			if v.Stale != "" {
				continue // Its mirrors may have other types, and are dropped with it.
			}
			done := map[string]bool{} // A table may be joined twice.
			for i, source := range v.Plan.Sources {
				if source.Stream != m.stream || source.Scheduled || !source.Named(c.Schema, c.Table) || done[source.Mirror] || c.Position <= source.After {
					continue
				}
				done[source.Mirror] = true
				one, err := m.shape(v.Plan, i, c)
				if err != nil {
					return err
				}
				copied, owners = append(copied, one), append(owners, v)
			}
		}
	}
	if len(copied) == 0 {
		return nil
	}
	refusals, err := m.sink.DeliverTx(ctx, tx, copied)
	if err != nil {
		return fmt.Errorf("write to a mirror: %w", err)
	}
	for _, refusal := range refusals {
		if err := whole(ctx, tx, owners[refusal.Index], TaskVerify); err != nil {
			return err
		}
	}
	return nil
}

func (m *mirror) write(ctx context.Context, tx pgx.Tx, changes []change.Change) error {
	if len(changes) == 0 {
		return nil
	}
	refusals, err := m.sink.DeliverTx(ctx, tx, changes)
	if err != nil {
		return fmt.Errorf("write to a mirror: %w", err)
	}
	if len(refusals) > 0 {
		source := m.needed[changes[refusals[0].Index].Table]
		return fmt.Errorf("write to the mirror of %s.%s of database %s: %s; see whether its types have the same labels and limits in both databases",
			source.Schema, source.Name, m.stream, refusals[0].Reason)
	}
	return nil
}

// shape converts a change of a table to a change of its mirror, with the columns that are needed.
func (m *mirror) shape(p *plan.Plan, i int, c change.Change) (change.Change, error) {
	source := p.Needed(i)
	m.needed[source.Mirror] = source
	c.Schema, c.Table, c.Old = plan.MirrorSchema, source.Mirror, nil
	if len(c.New) == 0 {
		return c, nil
	}
	var row map[string]json.RawMessage
	if err := json.Unmarshal(c.New, &row); err != nil {
		return c, fmt.Errorf("read the row at position %d: %w", c.Position, err)
	}
	kept := map[string]json.RawMessage{}
	for _, column := range source.Columns {
		if value, has := row[column.Name]; has {
			kept[column.Name] = value
		}
	}
	var unchanged []string
	for _, name := range c.Unchanged {
		if _, has := source.Column(name); has {
			unchanged = append(unchanged, name)
		}
	}
	c.Unchanged = unchanged
	var err error
	c.New, err = json.Marshal(kept)
	return c, err
}

// makeMirrors creates empty mirrors with the columns that a view needs, so that its SELECT can be planned.
func (e *Engine) makeMirrors(ctx context.Context, tx pgx.Tx, p *plan.Plan) error {
	for _, i := range p.Mirrored() {
		source := p.Sources[i]
		if err := e.makeMirror(ctx, tx, p, i); err != nil {
			return err
		}
		var indexed []string
		for k, other := range p.Sources {
			if other.Mirror != source.Mirror {
				continue
			}
			for _, column := range p.Joined(k) {
				if slices.Contains(indexed, column) {
					continue
				}
				indexed = append(indexed, column)
				_, err := tx.Exec(ctx, "CREATE INDEX ON "+pgx.Identifier{plan.MirrorSchema, source.Mirror}.Sanitize()+" ("+pgx.Identifier{column}.Sanitize()+")")
				if err != nil {
					return fmt.Errorf("create an index of the mirror of %s.%s: %w", source.Schema, source.Name, err)
				}
			}
		}
	}
	return nil
}

// makeMirror creates the mirror of a table, or adds the columns that it lacks.
func (e *Engine) makeMirror(ctx context.Context, tx pgx.Tx, p *plan.Plan, i int) error {
	source := p.Sources[i]
	names := make([]string, len(source.Key)) // In order, which a map does not keep.
	for k, column := range source.Key {
		name, err := json.Marshal(column)
		if err != nil {
			return fmt.Errorf("create a mirror: %w", err)
		}
		names[k] = string(name) + ": null"
	}
	m := newMirror(e.DB, source.Stream, false)
	m.needed[source.Mirror] = p.Needed(i)
	err := m.sink.Make(ctx, tx, change.Change{
		Op: change.Insert, Schema: plan.MirrorSchema, Table: source.Mirror, Key: json.RawMessage("{" + strings.Join(names, ", ") + "}"),
	})
	if err != nil {
		return fmt.Errorf("mirror %s.%s: %w", source.Schema, source.Name, err)
	}
	return nil
}
