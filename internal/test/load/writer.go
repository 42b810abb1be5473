package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"golang.org/x/sync/errgroup"

	"github.com/daymill/daymill/jobs"
)

const riverSchema = "river"

// written is what the writers have done so far.
type written struct {
	events       atomic.Int64 // inserted, updated or deleted
	transactions atomic.Int64
	asked        atomic.Int64 // transactions that have requested a date, without the triggers'
}

// writer is one connection of the application.
type writer struct {
	*written

	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
	random *rand.Rand
	today  day
	late   []day
}

// Statements of the writers. The instant is random within the date, so that the events of a late date stay spread over it. As many events are
// deleted as inserted, so that a run of the date costs the same at the end as at the beginning.
const (
	insertSQL = `
INSERT INTO app.%s (entity_id, event_type, created_at)
SELECT
	floor(power(random(), 3) * 5000)::bigint,
	(ARRAY['view', 'view', 'view', 'view', 'click', 'save', 'skip', 'share'])[1 + floor(random() * 8)::integer],
	$1::timestamptz + random() * ($2::timestamptz - $1)
FROM generate_series(1, $3::integer)`
	someSQL = `ctid = ANY (ARRAY(
	SELECT e.ctid FROM app.%[1]s AS e WHERE e.created_at >= $1 AND e.created_at < $2 ORDER BY e.created_at LIMIT $3
	FOR UPDATE SKIP LOCKED
))`
	deleteSQL = "DELETE FROM app.%[1]s WHERE " + someSQL
	updateSQL = "UPDATE app.%[1]s SET event_type = CASE event_type WHEN 'view' THEN 'click' ELSE 'view' END WHERE " + someSQL
)

// rows is how many rows one statement changes.
const rows = 5

// write lets the writers write for the duration, takes samples in the meantime, and passes each to take.
func (s *site) write(ctx context.Context, take func(before, after sample)) ([]sample, error) {
	client, err := river.NewClient(riverpgxv5.New(s.writing), &river.Config{Schema: riverSchema})
	if err != nil {
		return nil, err
	}
	var done written
	first, err := s.sample(ctx, &done)
	if err != nil {
		return nil, err
	}
	samples := []sample{first}
	group, ctx := errgroup.WithContext(ctx)
	writing, stop := context.WithCancel(ctx)
	defer stop()
	for i := range s.writers {
		w := writer{
			written: &done, pool: s.writing, client: client, today: s.today, late: s.late,
			random: rand.New(rand.NewPCG(1, uint64(i))),
		}
		group.Go(func() error { return w.write(ctx, writing) })
	}
	group.Go(func() error {
		defer stop()
		for due := first.at.Add(s.every); !due.After(first.at.Add(s.duration)); due = due.Add(s.every) {
			if err := sleep(ctx, due.Sub(now())); err != nil {
				return err
			}
			next, err := s.sample(ctx, &done)
			if err != nil {
				return err
			}
			take(samples[len(samples)-1], next)
			samples = append(samples, next)
		}
		return nil
	})
	return samples, group.Wait()
}

// write changes events until writing is done. A transaction that has begun still ends.
func (w *writer) write(ctx, writing context.Context) error {
	for writing.Err() == nil {
		var err error
		switch part := w.random.IntN(20); {
		case part < 12:
			err = w.insert(ctx)
		case part < 14:
			err = w.change(ctx, "late", w.askSQL, insertSQL, deleteSQL)
		case part < 16:
			err = w.change(ctx, "late", w.askGo, insertSQL, deleteSQL)
		case part < 17:
			err = w.change(ctx, "late", w.askSQL, updateSQL)
		default:
			err = w.change(ctx, "imports", nil, insertSQL, deleteSQL)
		}
		if err != nil {
			return fmt.Errorf("a writer: %w", err)
		}
		w.transactions.Add(1)
	}
	return nil
}

// insert inserts some events of now, which is what applications do most.
func (w *writer) insert(ctx context.Context) error {
	tag, err := w.pool.Exec(ctx, fmt.Sprintf(insertSQL, "events"), now().Add(-time.Second), now(), rows)
	w.events.Add(tag.RowsAffected())
	return err
}

// change changes events of a late date, and requests the date unless the triggers do.
func (w *writer) change(ctx context.Context, table string, ask func(context.Context, pgx.Tx, day) error, statements ...string) error {
	d := w.late[w.random.IntN(len(w.late))]
	changed := int64(0)
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		for _, sql := range statements {
			from := d.from
			if sql != insertSQL { // A few events from a random place on.
				from = from.Add(time.Duration(w.random.Int64N(int64(d.to.Sub(d.from)))))
			}
			tag, err := tx.Exec(ctx, fmt.Sprintf(sql, table), from, d.to, rows)
			if err != nil {
				return err
			}
			changed += tag.RowsAffected()
		}
		if ask == nil {
			return nil
		}
		return ask(ctx, tx, d)
	})
	if err != nil {
		return err
	}
	w.events.Add(changed)
	if ask != nil {
		w.asked.Add(1)
	}
	return nil
}

func (w *writer) askSQL(ctx context.Context, tx pgx.Tx, d day) error {
	_, err := tx.Exec(ctx, "SELECT analytics.enqueue_rollup($1::date)", d.date)
	return err
}

func (w *writer) askGo(ctx context.Context, tx pgx.Tx, d day) error {
	return jobs.EnqueueDay(ctx, tx, w.client, d.date)
}
