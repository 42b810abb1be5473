package chaos_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/event"
	"github.com/daymill/daymill/jobs"
)

// way is how a writer requests a rollup.
type way int

// The ways to request a rollup. All except import request it in the transaction that changes events.
const (
	goPgx         way = iota // jobs.EnqueueDay on a pgx.Tx
	goDatabaseSQL            // jobs.EnqueueDay on a *sql.Tx
	sqlDate                  // analytics.enqueue_rollup(date)
	sqlRange                 // analytics.enqueue_rollup(first, last)
	riverInsert              // a plain insert of River's
	rawInsert                // INSERT INTO river_job
	importFile               // daymill import
	watched                  // not at all: the triggers on the source do
	ways
)

// Entities are numbered from 1; Entity 0 has an event on each date that is never deleted, because a date that loses all events is protected.
const entities = 40

// row is an event to insert.
type row struct {
	Entity int     `json:"entity"`
	Type   string  `json:"type"`
	Day    int     `json:"day"`  // from the first
	Part   float64 `json:"part"` // of the date
}

// writer is a process of the application.
type writer struct {
	*trial

	random *rand.Rand
	done   [ways]int // transactions, by way
}

// write changes events until ctx is done.
func (w *writer) write(ctx context.Context) {
	for sleep(ctx, time.Duration(w.random.Int64N(int64(w.schedule.rest)))) {
		// All random choices are made here, so that they do not depend on Postgres's answers.
		how := way(w.random.IntN(int(watched)))
		if w.schedule.watch && w.random.IntN(2) == 0 {
			how = watched
		}
		change, argument := w.change()
		hold := time.Duration(0)
		if w.random.IntN(4) == 0 {
			hold = time.Duration(w.random.Int64N(int64(400 * time.Millisecond)))
		}
		rows, abort := w.rows(), w.random.IntN(10) == 0
		// A transaction that has begun must end.
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		var err error
		switch how {
		case importFile:
			err = w.importFile(within, rows)
		case goDatabaseSQL:
			err = w.databaseSQL(within, change, argument, hold, abort)
		default:
			err = w.pgx(within, how, change, argument, hold, abort)
		}
		cancel()
		if err == nil {
			w.done[how]++
		}
		w.note(err)
	}
}

func (w *writer) rows() []row {
	rows := make([]row, 1+w.random.IntN(12))
	// Mostly of one date, often at its beginning or end, where a run may already have been.
	day := w.random.IntN(dates)
	for i := range rows {
		part := w.random.Float64()
		if w.random.IntN(2) == 0 {
			part *= 0.02
		}
		rows[i] = row{
			Entity: 1 + w.random.IntN(entities), Day: day, Part: part,
			Type: []string{"view", "view", "click", "save", "skip", "share"}[w.random.IntN(6)],
		}
		if w.random.IntN(6) == 0 {
			rows[i].Day = w.random.IntN(dates)
		}
	}
	return rows
}

// Statements that change events. $1 is the first date, $2 a JSON. Each returns the changed dates, separated by commas.
const (
	insertSQL = `
WITH changed AS (
	INSERT INTO app.events (entity_id, event_type, created_at)
	SELECT r.entity, r.type, b.first + (b.last - b.first) * r.part
	FROM jsonb_to_recordset($2::text::jsonb) AS r (entity bigint, type text, day integer, part double precision)
	CROSS JOIN LATERAL (SELECT analytics.date_start($1::text::date + r.day), analytics.date_start($1::text::date + r.day + 1)) AS b (first, last)
	RETURNING created_at
)
SELECT coalesce(string_agg(DISTINCT analytics.date_of(created_at)::text, ','), '') FROM changed`
	moveSQL = `
WITH one AS (SELECT * FROM jsonb_to_recordset($2::text::jsonb) AS r (entity bigint, type text, day integer, part double precision) LIMIT 1),
target AS (SELECT b.first + (b.last - b.first) * one.part AS instant, one.entity, one.type FROM one
	CROSS JOIN LATERAL (SELECT analytics.date_start($1::text::date + one.day), analytics.date_start($1::text::date + one.day + 1)) AS b (first, last)),
before AS (SELECT e.id, e.created_at FROM app.events AS e WHERE e.entity_id = (SELECT entity FROM one) ORDER BY e.id LIMIT 3 FOR UPDATE),
changed AS (UPDATE app.events AS e SET created_at = t.instant FROM target AS t WHERE e.id IN (SELECT id FROM before) RETURNING e.created_at)
SELECT coalesce(string_agg(DISTINCT analytics.date_of(created_at)::text, ','), '')
FROM (SELECT created_at FROM before UNION ALL SELECT created_at FROM changed) AS c`
	renameSQL = `
WITH one AS (SELECT * FROM jsonb_to_recordset($2::text::jsonb) AS r (entity bigint, type text, day integer, part double precision) LIMIT 1),
changed AS (
	UPDATE app.events AS e SET event_type = one.type, entity_id = 1 + (e.entity_id + one.day) % 40 FROM one
	WHERE e.id IN (SELECT x.id FROM app.events AS x WHERE x.entity_id = (SELECT entity FROM one) ORDER BY x.id LIMIT 4 FOR UPDATE)
	RETURNING e.created_at
)
SELECT coalesce(string_agg(DISTINCT analytics.date_of(created_at)::text, ','), '') FROM changed WHERE $1::text <> ''`
	deleteSQL = `
WITH one AS (SELECT * FROM jsonb_to_recordset($2::text::jsonb) AS r (entity bigint, type text, day integer, part double precision) LIMIT 1),
changed AS (
	DELETE FROM app.events AS e USING one
	WHERE e.id IN (SELECT x.id FROM app.events AS x WHERE x.entity_id = (SELECT entity FROM one) AND
		x.created_at >= (SELECT analytics.date_start($1::text::date + day) FROM one)
		AND x.created_at < (SELECT analytics.date_start($1::text::date + day + 1) FROM one) ORDER BY x.id FOR UPDATE)
	RETURNING e.created_at
)
SELECT coalesce(string_agg(DISTINCT analytics.date_of(created_at)::text, ','), '') FROM changed`
)

// change returns a random change: the last kind removes all events of an entity on a date.
func (w *writer) change() (statement, argument string) {
	statement = []string{insertSQL, insertSQL, moveSQL, renameSQL, deleteSQL, deleteSQL}[w.random.IntN(6)]
	text, err := json.Marshal(w.rows())
	w.note(err)
	return statement, string(text)
}

// touched parses the result of a change.
func touched(text string) (dates []date.Date, err error) {
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		d, err := date.Parse(part)
		if err != nil {
			return nil, err
		}
		dates = append(dates, d)
	}
	return dates, nil
}

// pgx is a transaction of an application that uses pgx.
func (w *writer) pgx(ctx context.Context, how way, change, argument string, hold time.Duration, abort bool) error {
	return pgx.BeginFunc(ctx, w.db.Pool, func(tx pgx.Tx) error {
		var text string
		if err := tx.QueryRow(ctx, change, w.first.String(), argument).Scan(&text); err != nil {
			return err
		}
		changed, err := touched(text)
		if err != nil || len(changed) == 0 {
			return err
		}
		if err := w.ask(ctx, tx, how, changed); err != nil {
			return err
		}
		sleep(ctx, hold)
		if abort {
			return pgx.ErrTxCommitRollback
		}
		return nil
	})
}

// ask requests dates in order, because a plain insert of River's waits for another insert of the same date.
func (w *writer) ask(ctx context.Context, tx pgx.Tx, how way, changed []date.Date) error {
	if how == sqlRange {
		_, err := tx.Exec(ctx, "SELECT analytics.enqueue_rollup($1, $2)", changed[0], changed[len(changed)-1])
		return err
	}
	for _, d := range changed {
		var err error
		switch how {
		case goPgx:
			err = jobs.EnqueueDay(ctx, tx, w.app, d)
		case sqlDate:
			_, err = tx.Exec(ctx, "SELECT analytics.enqueue_rollup($1::date)", d)
		case riverInsert:
			_, err = w.app.InsertTx(ctx, tx, jobs.RollupDayArgs{Date: d}, nil)
		case rawInsert:
			_, err = tx.Exec(ctx, `INSERT INTO river.river_job (kind, args, max_attempts)
				VALUES ('rollup_day', jsonb_build_object('date', $1::date::text), 25)`, d)
		default:
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// databaseSQL is a transaction of an application that uses database/sql.
func (w *writer) databaseSQL(ctx context.Context, change, argument string, hold time.Duration, abort bool) error {
	tx, err := w.sql.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // It is committed, or there is another error.
	var text string
	if err := tx.QueryRowContext(ctx, change, w.first.String(), argument).Scan(&text); err != nil {
		return err
	}
	changed, err := touched(text)
	if err != nil {
		return err
	}
	for _, d := range changed {
		if err := jobs.EnqueueDay(ctx, tx, w.sqlApp, d); err != nil {
			return err
		}
	}
	sleep(ctx, hold)
	if abort {
		return nil
	}
	return tx.Commit()
}

// importFile is `daymill import`.
func (w *writer) importFile(ctx context.Context, rows []row) error {
	format, err := event.ParseTimeFormat("iso")
	if err != nil {
		return err
	}
	var text strings.Builder
	text.WriteString("entity_id,event_type,created_at\n")
	for _, r := range rows {
		year, month, day := w.first.AddDays(r.Day).Date()
		at := time.Date(year, month, day, 12, 0, 0, 0, time.UTC).Add(time.Duration(r.Part * float64(10*time.Hour)))
		fmt.Fprintf(&text, "%d,%s,%s\n", r.Entity, r.Type, at.Format(time.RFC3339Nano))
	}
	importer := &event.Importer{
		DB: w.db, Chunk: 5,
		Target: event.Target{
			Table: pgx.Identifier{"app", "events"}, EntityColumn: "entity_id", TypeColumn: "event_type", TimeColumn: "created_at",
		},
		Options: event.Options{
			EntityType: entity.Bigint, TimeFormat: format, TimeZone: time.UTC,
			Columns: event.Columns{Entity: "entity_id", Type: "event_type", Time: "created_at"},
		},
	}
	_, err = importer.Import(ctx, "chaos.csv", strings.NewReader(text.String()))
	return err
}

// sqlDriver is a driver of River's over database/sql, with only what jobs.EnqueueDay needs: River publishes its own for fewer versions than
// River itself.
type sqlDriver struct{ *riverpgxv5.Driver }

var _ riverdriver.Driver[*sql.Tx] = sqlDriver{}

// UnwrapExecutor returns the executor of a transaction's statements.
func (sqlDriver) UnwrapExecutor(tx *sql.Tx) riverdriver.ExecutorTx { return sqlExecutor{tx: tx} }

// UnwrapTx is not needed.
func (sqlDriver) UnwrapTx(riverdriver.ExecutorTx) *sql.Tx { return nil }

type sqlExecutor struct {
	riverdriver.ExecutorTx

	tx *sql.Tx
}

// Exec runs a statement.
func (e sqlExecutor) Exec(ctx context.Context, statement string, args ...any) error {
	_, err := e.tx.ExecContext(ctx, statement, args...)
	return err
}

// newApps makes clients that insert only.
func (x *trial) newApps() (err error) {
	config := &river.Config{Schema: "river"}
	if x.app, err = river.NewClient(riverpgxv5.New(x.db.Pool), config); err != nil {
		return err
	}
	x.sqlApp, err = river.NewClient(sqlDriver{riverpgxv5.New(x.db.Pool)}, config)
	return err
}
