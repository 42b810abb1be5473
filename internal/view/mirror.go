package view

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	pgsink "github.com/daymill/daymill/internal/capture/sink/postgres"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view/plan"
)

// mirror keeps copies of another database's tables in the target, with the columns that views need.
type mirror struct {
	stream string
	sink   *pgsink.Postgres
	needed map[string]plan.Source // by the mirror's name
}

func newMirror(target *postgres.DB, stream string) *mirror {
	m := &mirror{stream: stream, needed: map[string]plan.Source{}}
	m.sink = pgsink.New(pgsink.Config{DB: target, Columns: func(_ context.Context, c change.Change) ([]pgsink.Column, error) {
		source := m.needed[c.Table]
		columns := make([]pgsink.Column, len(source.Columns))
		for i, column := range source.Columns {
			columns[i] = pgsink.Column{Name: column.Name, Type: column.Type}
		}
		return columns, nil
	}})
	return m
}

// deliver writes changes to the mirrors. Each table of a view has its own mirrors.
func (m *mirror) deliver(ctx context.Context, tx pgx.Tx, versions []Version, changes []change.Change) error {
	var copied []change.Change
	for _, c := range changes {
		for _, v := range versions {
			if v.Stale != "" {
				continue // Its mirrors may have other types, and are dropped with it.
			}
			done := map[string]bool{} // A table may be joined twice.
			for i, source := range v.Plan.Sources {
				if source.Stream != m.stream || source.Scheduled || !source.Named(c.Schema, c.Table) || done[source.Mirror] {
					continue
				}
				done[source.Mirror] = true
				one, err := m.shape(v.Plan, i, c)
				if err != nil {
					return err
				}
				copied = append(copied, one)
			}
		}
	}
	return m.write(ctx, tx, copied)
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
		return errors.New("write to a mirror: " + refusals[0].Reason)
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

// fillMirrors copies the tables of other databases that a view needs, in chunks. A row gets the log's position from before the first chunk
// was read, so later changes in the log overwrite it.
func (w *worker) fillMirrors(ctx context.Context) error {
	v := w.version
	done := map[string]bool{}
	for i, source := range v.Plan.Sources {
		if source.Mirror == "" || done[source.Mirror] {
			continue
		}
		done[source.Mirror] = true
		from, _, err := w.Databases.Open(ctx, v.Plan.Definition.Tables[i].Database)
		if err != nil {
			return err
		}
		if err := w.fillMirror(ctx, i, from); err != nil {
			return fmt.Errorf("copy %s.%s of database %s: %w", source.Schema, source.Name, v.Plan.Definition.Tables[i].Database, err)
		}
	}
	return nil
}

// position returns the position that rows get that are read from now on.
func (w *worker) position(ctx context.Context, source plan.Source) (position int64, err error) {
	if !source.Scheduled {
		return w.head(ctx, source.Stream)
	}
	err = w.DB.Tx(ctx, func(tx pgx.Tx) error {
		position, err = db.New(tx).VersionLook(ctx, w.version.ID)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read a position: %w", err)
	}
	return position, nil
}

// mirrorChunk is how many rows are copied at a time.
const mirrorChunk = 2000

func (w *worker) fillMirror(ctx context.Context, index int, from *postgres.DB) error {
	version := w.version
	source := version.Plan.Needed(index)
	if source.Scheduled {
		if err := w.stand(ctx, index, from); err != nil {
			return err
		}
	}
	position, err := w.position(ctx, source)
	if err != nil {
		return err
	}
	var after []string
	for {
		var changes []change.Change
		err := from.Read(ctx, func(on postgres.DBTX) error {
			arguments := make([]any, len(after))
			for k, text := range after {
				arguments[k] = text
			}
			rows, err := on.Query(ctx, source.Chunk(after != nil), append(append([]any{pgx.QueryExecModeCacheDescribe}, arguments...), mirrorChunk)...)
			if err != nil {
				return err
			}
			changes, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c change.Change, err error) {
				var key, values string
				err = row.Scan(&after, &key, &values)
				return change.Change{
					Position: position, Stream: source.Stream, Op: change.Insert, Schema: source.Schema, Table: source.Name, Key: json.RawMessage(key),
					New: json.RawMessage(values), Snapshot: true,
				}, err
			})
			return err
		})
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			return nil
		}
		err = w.DB.Tx(ctx, func(tx pgx.Tx) error {
			if err := lock(ctx, tx, version.View); err != nil {
				return err
			}
			if err := w.lease.Fence(ctx, db.New(tx)); err != nil {
				return err
			}
			m := newMirror(w.DB, source.Stream)
			copied := make([]change.Change, len(changes))
			for k, c := range changes {
				if copied[k], err = m.shape(version.Plan, index, c); err != nil {
					return err
				}
			}
			return m.write(ctx, tx, copied)
		})
		if err != nil {
			return err
		}
	}
}

// makeMirrors creates empty mirrors with the columns that a view needs, so that its SELECT can be planned.
func (e *Engine) makeMirrors(ctx context.Context, tx pgx.Tx, p *plan.Plan) error {
	for i, source := range p.Sources {
		if source.Mirror == "" {
			continue
		}
		names := make([]string, len(source.Key)) // In order, which a map does not keep.
		for k, column := range source.Key {
			name, err := json.Marshal(column)
			if err != nil {
				return fmt.Errorf("create a mirror: %w", err)
			}
			names[k] = string(name) + ": null"
		}
		m := newMirror(e.DB, source.Stream)
		m.needed[source.Mirror] = p.Needed(i)
		err := m.sink.Make(ctx, tx, change.Change{
			Op: change.Insert, Schema: plan.MirrorSchema, Table: source.Mirror, Key: json.RawMessage("{" + strings.Join(names, ", ") + "}"),
		})
		if err != nil {
			return fmt.Errorf("mirror %s.%s: %w", source.Schema, source.Name, err)
		}
		for _, column := range p.Joined(i) {
			_, err := tx.Exec(ctx, "CREATE INDEX ON "+pgx.Identifier{plan.MirrorSchema, source.Mirror}.Sanitize()+" ("+pgx.Identifier{column}.Sanitize()+")")
			if err != nil {
				return fmt.Errorf("create an index of the mirror of %s.%s: %w", source.Schema, source.Name, err)
			}
		}
	}
	return nil
}
