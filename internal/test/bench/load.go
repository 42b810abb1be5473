package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// load is an application that runs during a rollup: reads and updates of single rows by their key, four to one, in a table
// that is larger than half of shared_buffers.
type load struct {
	url     string
	rows    int
	clients int
	rate    int // requests per second of all clients; 0 means as many as possible

	mu   sync.Mutex
	took []request
}

// request is one that the application made.
type request struct {
	at      time.Time     // when it was due
	latency time.Duration // since it was due, so requests that wait behind a slow one count as slow, too
}

// rowBytes is about how many bytes a row of public.accounts takes, including its index entry.
const rowBytes = 160

// makeLoad creates the table, which takes 0.6 of shared_buffers.
func makeLoad(ctx context.Context, db *database, clients, rate int) (*load, error) {
	var bytes int64
	err := db.QueryRow(ctx, "SELECT setting::bigint * 8192 FROM pg_settings WHERE name = 'shared_buffers'").Scan(&bytes)
	if err != nil {
		return nil, err
	}
	l := &load{url: db.url, rows: int(bytes * 6 / 10 / rowBytes), clients: clients, rate: rate}
	return l, db.exec(ctx, fmt.Sprintf(`
		DROP TABLE IF EXISTS public.accounts;
		CREATE TABLE public.accounts (id integer PRIMARY KEY, balance integer NOT NULL DEFAULT 0, filler char(84) NOT NULL DEFAULT '');
		INSERT INTO public.accounts (id) SELECT generate_series(1, %d);
		ANALYZE public.accounts`, l.rows))
}

// during makes requests while do runs, and returns those that were due in the meantime. It starts half a second before do.
func (l *load) during(ctx context.Context, do func(ctx context.Context) error) (sample, error) {
	l.took = nil
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	running, done := context.WithCancel(ctx)
	defer done()
	for i := range l.clients {
		group.Go(func() error { return l.client(ctx, running, i) })
	}
	if err := sleep(ctx, 500*time.Millisecond); err != nil {
		return nil, err
	}
	from := now()
	err := do(ctx)
	to := now()
	done()
	if waited := group.Wait(); err == nil {
		err = waited
	}
	return l.figures(from, to), err
}

func (l *load) client(ctx, running context.Context, number int) error {
	conn, err := pgx.Connect(ctx, l.url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	random := rand.New(rand.NewPCG(1, uint64(number))) //nolint:gosec // A number of a client is not negative.
	every := time.Duration(0)
	if l.rate > 0 {
		every = time.Second * time.Duration(l.clients) / time.Duration(l.rate)
	}
	due := now().Add(every * time.Duration(number) / time.Duration(l.clients))
	var took []request
	for running.Err() == nil {
		if wait := due.Sub(now()); wait > 0 && sleep(running, wait) != nil {
			break
		}
		if every == 0 {
			due = now()
		}
		sql := "SELECT balance FROM public.accounts WHERE id = $1"
		if random.IntN(5) == 0 {
			sql = "UPDATE public.accounts SET balance = balance + 1 WHERE id = $1"
		}
		if _, err := conn.Exec(ctx, sql, 1+random.IntN(l.rows)); err != nil {
			return fmt.Errorf("the application: %w", err)
		}
		took = append(took, request{at: due, latency: now().Sub(due)})
		due = due.Add(every)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = append(l.took, took...)
	return nil
}

// figures returns the figures of the requests that were due between two instants.
func (l *load) figures(from, to time.Time) sample {
	var all []float64
	for _, r := range l.took {
		if !r.at.Before(from) && r.at.Before(to) {
			all = append(all, milliseconds(r.latency))
		}
	}
	slices.Sort(all)
	return sample{
		p50: quantile(all, 0.5), p99: quantile(all, 0.99), worst: quantile(all, 1),
		rate: float64(len(all)) / to.Sub(from).Seconds(), wall: milliseconds(to.Sub(from)),
	}
}
