package view

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/view/definition"
	"github.com/daymill/daymill/internal/view/plan"
	"github.com/daymill/daymill/internal/view/signal"
)

// viaCapture is how a task was requested that changes have requested.
const viaCapture = "capture"

// Sink applies the changes of one database to one view.
type Sink struct {
	engine   *Engine
	view     int64
	name     string // of the view
	stream   string
	versions []Version
	mirror   *mirror // nil for the target's own changes
}

// Sink opens the sink of a view for a stream. Before that, the view follows drift of its tables.
func (e *Engine) Sink(ctx context.Context, view int64, stream string) (*Sink, error) {
	if err := e.Follow(ctx, view); err != nil {
		return nil, err
	}
	row, err := db.New(e.DB).ViewByID(ctx, view)
	if err != nil {
		return nil, fmt.Errorf("read a view: %w", err)
	}
	s := &Sink{engine: e, view: view, name: row.Name, stream: stream}
	if stream != definition.App {
		s.mirror = newMirror(e.DB, stream, false)
	}
	return s, nil
}

// Close does nothing.
func (*Sink) Close() error { return nil }

var errTx = errors.New("changes can be applied to a view only in the transaction that moves its position")

// Deliver is not used: a view is in the log's own database.
func (*Sink) Deliver(context.Context, []change.Change) ([]sink.Refusal, error) { return nil, errTx }

// DeliverTx refreshes the rows that changes affect.
func (s *Sink) DeliverTx(ctx context.Context, tx pgx.Tx, changes []change.Change) ([]sink.Refusal, error) {
	clock := s.engine.clock()
	told := signal.Refresh{View: s.name, Changes: len(changes)}
	began := clock.Now()
	ctx = telemetry.Tell(ctx, s.engine.Listeners, signal.RefreshStart{View: s.name, Changes: len(changes)})
	refreshed, err := s.deliver(ctx, tx, changes)
	told.Keys, told.Err, told.Took = int64(refreshed), err, clock.Now().Sub(began)
	if oldest := slices.MinFunc(changes, func(a, b change.Change) int { return a.CommittedAt.Compare(b.CommittedAt) }).CommittedAt; !oldest.IsZero() {
		told.Lag = max(0, clock.Now().Sub(oldest))
	}
	telemetry.Tell(ctx, s.engine.Listeners, told)
	if err != nil {
		return nil, ours(err)
	}
	return nil, nil
}

// deliver applies changes, and returns how many root keys it refreshed.
func (s *Sink) deliver(ctx context.Context, tx pgx.Tx, changes []change.Change) (int, error) {
	if s.mirror == nil {
		if err := s.visible(ctx, tx, changes); err != nil {
			return 0, err
		}
	}
	if err := lock(ctx, tx, s.view); err != nil {
		return 0, err
	}
	if err := s.load(ctx, tx); err != nil {
		return 0, err
	}
	if s.mirror != nil {
		if err := s.mirror.deliver(ctx, tx, s.versions, changes); err != nil {
			return 0, err
		}
	}
	refreshed := 0
	for _, v := range s.versions {
		if v.Stale != "" {
			continue
		}
		count, err := s.engine.apply(ctx, tx, v, func(source plan.Source) bool { return source.Stream == s.stream && !source.Scheduled }, changes)
		if err == nil && count > 0 {
			err = v.same(ctx, tx)
		}
		if err != nil {
			return 0, err
		}
		refreshed += count
	}
	if refreshed == 0 {
		return 0, nil
	}
	if err := db.New(tx).ViewRefreshed(ctx, db.ViewRefreshedParams{ID: s.view, Roots: int64(refreshed)}); err != nil {
		return 0, fmt.Errorf("record a refresh: %w", err)
	}
	return refreshed, nil
}

// visibleSQL counts transactions whose rows a statement would not see. A transaction is in the WAL a moment before its rows are visible. With
// a synchronous standby, that moment lasts until the standby has answered. A change has the lower half of the transaction's number.
const visibleSQL = `
WITH s AS (SELECT pg_catalog.pg_current_snapshot() AS snapshot, pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint AS xmax)
SELECT count(*) FROM s
CROSS JOIN LATERAL pg_catalog.unnest($1::bigint[]) AS x (low)
CROSS JOIN LATERAL (SELECT (s.xmax & ~4294967295) | x.low AS number) AS n
CROSS JOIN LATERAL (
    SELECT n.number + CASE WHEN n.number > s.xmax + 2147483648 THEN -4294967296 WHEN n.number < s.xmax - 2147483648 THEN 4294967296 ELSE 0 END AS number
) AS f
WHERE f.number > 2 AND NOT pg_catalog.pg_visible_in_snapshot(f.number::text::xid8, s.snapshot)`

const (
	visiblePoll = 5 * time.Millisecond
	visibleMost = 2 * time.Second
)

// visible waits until the rows of changes are visible.
func (s *Sink) visible(ctx context.Context, tx pgx.Tx, changes []change.Change) error {
	var low []int64
	for _, c := range changes {
		if x := c.XID & 0xffffffff; x > 0 && !slices.Contains(low, x) { //nolint:mnd // Half of 64 bits.
			low = append(low, x)
		}
	}
	clock := s.engine.clock()
	until := clock.Now().Add(visibleMost)
	for {
		var hidden int
		if err := tx.QueryRow(ctx, visibleSQL, low).Scan(&hidden); err != nil {
			return fmt.Errorf("check whether changes are visible: %w", err)
		}
		switch {
		case hidden == 0:
			return nil
		case clock.Now().After(until):
			return errors.New("a transaction is in the WAL, but its rows are not visible yet: it may be waiting for a synchronous standby")
		}
		if err := clock.Sleep(ctx, visiblePoll); err != nil {
			return err
		}
	}
}

// load reads the view's tables again if they have changed.
func (s *Sink) load(ctx context.Context, tx pgx.Tx) error {
	rows, err := db.New(tx).VersionRevisions(ctx, s.view)
	if err != nil {
		return fmt.Errorf("read the tables of a view: %w", err)
	}
	same := len(rows) == len(s.versions) && s.versions != nil
	for i, row := range rows {
		same = same && s.versions[i].ID == row.ID && s.versions[i].Revision == row.Revision
	}
	if !same {
		s.versions, err = Versions(ctx, tx, s.view)
	}
	return err
}

// part is what changes say about one table of a view.
type part struct {
	table     int
	keys      roots
	truncated bool
}

// apply refreshes one table of the view for changes of some of its sources, and returns how many root keys it refreshed.
func (e *Engine) apply(ctx context.Context, tx pgx.Tx, version Version, of func(plan.Source) bool, changes []change.Change) (count int, err error) {
	var parts []part
	unknown, keyed := false, false
	for index, source := range version.Plan.Sources {
		if !of(source) {
			continue
		}
		p := part{table: index}
		var some bool
		if p.keys, p.truncated, some, err = version.changed(index, changes); err != nil {
			return 0, err
		}
		parts, unknown, keyed = append(parts, p), unknown || some, keyed || len(p.keys) > 0
	}
	if keyed {
		count, err = e.attempt(ctx, tx, version, parts)
		if odd(err) {
			var misfits bool
			if misfits, err = version.sort(ctx, tx, parts, err); err != nil {
				return 0, err
			}
			unknown = unknown || misfits
			count, err = e.refreshParts(ctx, tx, version, parts)
		}
	} else {
		count, err = e.refreshParts(ctx, tx, version, parts)
	}
	if err == nil && unknown { // All rows are read again.
		err = whole(ctx, tx, version, TaskBuild)
	}
	return count, err
}

// attempt is refreshParts, and undoes its work if it fails.
func (e *Engine) attempt(ctx context.Context, tx pgx.Tx, version Version, parts []part) (count int, err error) {
	err = pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error {
		count, err = e.refreshParts(ctx, inner, version, parts)
		return err
	})
	return count, err
}

// refreshParts refreshes one table of the view for rows of its sources.
func (e *Engine) refreshParts(ctx context.Context, tx pgx.Tx, version Version, parts []part) (count int, err error) {
	var touched roots
	for _, p := range parts {
		if version.Plan.Filling {
			if len(p.keys) > 0 {
				err = hold(ctx, tx, version, p.table, p.keys)
			}
			if p.truncated && err == nil {
				err = hold(ctx, tx, version, p.table, nil)
			}
			if err != nil {
				return 0, err
			}
			continue
		}
		if p.table == 0 && !p.truncated {
			touched = append(touched, p.keys...)
			continue
		}
		if len(p.keys) > 0 {
			if touched, err = e.touch(ctx, tx, version, p.table, p.keys, touched); err != nil {
				return 0, err
			}
		}
		if p.truncated {
			if touched, err = e.touch(ctx, tx, version, p.table, nil, touched); err != nil {
				return 0, err
			}
		}
	}
	touched = touched.distinct()
	return len(touched), version.refresh(ctx, tx, touched)
}

// touch adds the root keys that rows of a table affect. If there are many, it inserts a task for them instead.
func (e *Engine) touch(ctx context.Context, tx pgx.Tx, v Version, i int, keys, touched roots) (roots, error) {
	arguments := []any{}
	if keys != nil {
		arguments = keys.arrays(len(v.Plan.Sources[i].Key))
	}
	most := e.most()
	var found roots
	// Because of the limit, the planner would expect to find enough rows soon if it read all, which it would when there are fewer.
	err := postgres.SetLocal(ctx, tx, postgres.Local{"enable_seqscan": "off", "enable_bitmapscan": "off"})
	if err == nil {
		found, err = query(ctx, tx, v.Plan.Some(i, v.Table, keys != nil), append(arguments, most+1)...)
	}
	if err == nil {
		err = postgres.SetLocal(ctx, tx, postgres.Local{"enable_seqscan": "on", "enable_bitmapscan": "on"})
	}
	if err != nil {
		return nil, fmt.Errorf("find the rows of %s that changes of %s affect: %w", v.Table, v.Plan.Definition.Tables[i].Alias(), err)
	}
	rows := map[string]int{} // by side
	for k, row := range found {
		rows[row[0]]++
		found[k] = row[1:]
	}
	if max(rows[plan.SideView], rows[plan.SideSource]) > most {
		return touched, later(ctx, tx, v, i, keys)
	}
	return append(touched, found...), nil
}

// later inserts a task that refreshes the view's rows that rows of a table affect. If keys is nil, these are all that have a row of the table.
func later(ctx context.Context, tx pgx.Tx, v Version, table int, keys roots) (err error) {
	var document []byte
	if keys != nil {
		if document, err = json.Marshal(keys); err != nil {
			return fmt.Errorf("write the keys of a task: %w", err)
		}
	}
	_, err = db.New(tx).ViewTaskInsert(ctx, db.ViewTaskInsertParams{
		ViewID: v.View, VersionID: &v.ID, Kind: TaskRefresh, TableIndex: int32(table), Keys: document, Via: viaCapture, //nolint:gosec // A small number.
	})
	if err != nil {
		return fmt.Errorf("insert a task: %w", err)
	}
	return nil
}
