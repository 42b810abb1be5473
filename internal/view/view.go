// Package view keeps tables equal to a SELECT.
//
// A view has one table that serves, and for a while a second one that is built to replace it. Both are written in chunks of root keys: a
// [Sink] refreshes the keys of changes, in the transaction that moves the consumer's position, and a [Task] works on all or many keys. Each
// of these transactions locks the view's row, deletes the table's rows for its keys, and inserts the SELECT's
// rows. So the transaction that commits last has also read last, and each transaction can be repeated.
//
//	changes ──▶ Sink ──────┐ touched root keys        ┌──▶ table that serves
//	                       ├──▶ lock, delete, insert ─┤
//	build, verify ──▶ Task ┘ ranges of root keys      └──▶ table that is built ──rename──▶ serves
package view

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/view/definition"
	"github.com/daymill/daymill/internal/view/plan"
)

// Kind is the kind of a view's consumers.
const Kind = "view"

// maxList is how many views, tasks or entries of drift are listed.
const maxList = 1000

// ErrNone says that no view has the name.
var ErrNone = errors.New("there is no view of that name: `daymill view list` shows all")

// View is a view.
type View struct {
	ID            int64
	Name          string
	PausedAt      *time.Time
	PausedBecause string
	RefreshedAt   *time.Time // nil before the first refresh
	Refreshed     int64      // root keys, in total
	CreatedAt     time.Time
}

// Consumer returns the name of the view's consumer for a stream.
func (v View) Consumer(stream string) string {
	name := "view-" + strconv.FormatInt(v.ID, 10)
	if stream != definition.App {
		name += "-" + stream
	}
	return name
}

// Of returns the number of the view that a consumer belongs to.
func Of(c consumer.Consumer) (int64, error) {
	var settings struct {
		View int64 `json:"view"`
	}
	if err := json.Unmarshal(c.Settings, &settings); err != nil || settings.View == 0 {
		return 0, fmt.Errorf("consumer %s does not belong to a view", c.Name)
	}
	return settings.View, nil
}

// States of a version.
const (
	Building = "building"
	Serving  = "serving"
)

// Version is a table of a view.
type Version struct {
	ID       int64
	View     int64
	State    string
	Table    string
	Plan     *plan.Plan
	Revision int32
	// Stale says why the table is no longer kept up to date; empty if it is.
	Stale     string
	CreatedAt time.Time
	ServedAt  *time.Time
}

// Engine works on views. DB and Databases have no default.
type Engine struct {
	DB        *postgres.DB // the target, with the log
	Databases *Databases
	Clock     pace.Clock // the system's if nil
	Pace      pace.Speed // no pauses if nil
	// Listeners receive the signals.
	Listeners telemetry.Listeners
	// Turn is how long to work on a task at a time; a minute if 0.
	Turn time.Duration
	// Most is how many root keys are refreshed in the transaction that moves a consumer's position. If there are more, they become a task.
	Most int
	// Chunk is the number of root keys in the first statement of a task; 500 if 0. Later statements adapt.
	Chunk int
}

// Defaults of Engine.
const (
	defaultTurn  = time.Minute
	defaultMost  = 2000
	defaultChunk = 500
	// mostChunk is the maximum size of a chunk, in root keys.
	mostChunk = 50_000
)

func (e *Engine) clock() pace.Clock {
	if e.Clock == nil {
		return pace.SystemClock{}
	}
	return e.Clock
}

func (e *Engine) most() int {
	if e.Most == 0 {
		return defaultMost
	}
	return e.Most
}

func (e *Engine) chunk() float64 {
	if e.Chunk == 0 {
		return defaultChunk
	}
	return float64(e.Chunk)
}

// Get returns a view, or ErrNone.
func Get(ctx context.Context, on postgres.DBTX, name string) (View, error) {
	row, err := db.New(on).ViewGet(ctx, name)
	if errors.Is(err, pgx.ErrNoRows) {
		return View{}, fmt.Errorf("%s: %w", name, ErrNone)
	}
	if err != nil {
		return View{}, fmt.Errorf("read view %s: %w", name, err)
	}
	return View(row), nil
}

// List returns the views by name, at most a thousand.
func List(ctx context.Context, on postgres.DBTX) ([]View, error) {
	rows, err := db.New(on).ViewList(ctx, maxList)
	if err != nil {
		return nil, fmt.Errorf("list views: %w", err)
	}
	views := make([]View, len(rows))
	for i, row := range rows {
		views[i] = View(row)
	}
	return views, nil
}

// Versions returns a view's tables, at most two.
func Versions(ctx context.Context, on postgres.DBTX, view int64) ([]Version, error) {
	rows, err := db.New(on).VersionList(ctx, view)
	if err != nil {
		return nil, fmt.Errorf("read the tables of a view: %w", err)
	}
	versions := make([]Version, len(rows))
	for i, row := range rows {
		versions[i] = Version{
			ID: row.ID, View: row.ViewID, State: row.State, Table: row.TableName, Revision: row.Revision, Stale: row.Stale,
			CreatedAt: row.CreatedAt, ServedAt: row.ServedAt, Plan: new(plan.Plan),
		}
		if err := json.Unmarshal(row.Plan, versions[i].Plan); err != nil {
			return nil, fmt.Errorf("read the plan of a view: %w", err)
		}
	}
	return versions, nil
}

// lock keeps others from writing to a view's tables until the transaction ends. Statements after it see everything that they have committed.
func lock(ctx context.Context, tx pgx.Tx, view int64) error {
	if _, err := db.New(tx).ViewLock(ctx, view); err != nil {
		return fmt.Errorf("lock a view: %w", err)
	}
	return nil
}

// roots are root keys, each as the texts of its columns.
type roots [][]string

// arrays returns the keys as parameters: an array for each of the columns.
func (r roots) arrays(columns int) []any {
	arguments := make([]any, columns)
	for k := range columns {
		column := make([]string, len(r))
		for i, key := range r {
			column[i] = key[k]
		}
		arguments[k] = column
	}
	return arguments
}

// joined returns a key as one text.
func joined(key []string) string { return strings.Join(key, "\x00") }

// distinct removes duplicate keys.
func (r roots) distinct() roots {
	seen := make(map[string]bool, len(r))
	return slices.DeleteFunc(r, func(key []string) bool {
		whole := joined(key)
		is := seen[whole]
		seen[whole] = true
		return is
	})
}

// query runs a statement of a plan. It is planned again each time, with its values, because a table may have grown a thousandfold.
func query(ctx context.Context, on postgres.DBTX, sql string, arguments ...any) (roots, error) {
	rows, err := on.Query(ctx, sql, append([]any{pgx.QueryExecModeCacheDescribe}, arguments...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[[]string])
}

func execute(ctx context.Context, on postgres.DBTX, sql string, arguments ...any) error {
	_, err := on.Exec(ctx, sql, append([]any{pgx.QueryExecModeCacheDescribe}, arguments...)...)
	return err
}

// refresh refreshes the rows of root keys. The caller has locked the view.
func (v Version) refresh(ctx context.Context, tx pgx.Tx, keys roots) error {
	if len(keys) == 0 {
		return nil
	}
	remove, insert := v.Plan.RefreshKeys(v.Table)
	arguments := keys.arrays(len(v.Plan.Keys[0]))
	if err := execute(ctx, tx, remove, arguments...); err != nil {
		return fmt.Errorf("delete rows of %s: %w", v.Table, err)
	}
	if err := execute(ctx, tx, insert, arguments...); err != nil {
		return fmt.Errorf("insert rows into %s: %w", v.Table, err)
	}
	return nil
}

// same returns an error if the SELECT of the plan has read another table than the plan means, because tables have swapped their names. A table that a
// transaction has read keeps its name until the transaction ends. The next turn follows the renames.
func (v Version) same(ctx context.Context, tx pgx.Tx) error {
	var names []string
	var oids []uint32
	for _, source := range v.Plan.Sources {
		if source.Mirror == "" {
			names, oids = append(names, pgx.Identifier{source.Schema, source.Name}.Sanitize()), append(oids, source.OID)
		}
	}
	if len(names) == 0 {
		return nil
	}
	var other *string
	err := tx.QueryRow(ctx, `
		SELECT min(s.name) FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::oid[])) AS s (name, oid)
		WHERE pg_catalog.to_regclass(s.name)::oid IS DISTINCT FROM s.oid`, names, oids).Scan(&other)
	if err != nil {
		return fmt.Errorf("look up the tables of a view: %w", err)
	}
	if other != nil {
		return fmt.Errorf("another table is called %s now, or none is", *other)
	}
	return nil
}

// ours marks an error as one to retry if no change of the application causes it: a lock, a time limit, a lost
// connection, or a dropped column, which the next turn follows.
func ours(err error) error {
	if err == nil || odd(err) {
		return err
	}
	return &sink.RetryError{After: time.Second, Err: err}
}
