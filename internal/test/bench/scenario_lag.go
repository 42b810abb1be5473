package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// lagRate is how many transactions of one row the application commits per second, and lagClients how many connections it has.
const (
	lagRate    = 1000
	lagClients = 4
)

// hook is a webhook's receiver. It remembers when each row's key came first.
type hook struct {
	server *http.Server
	url    string

	mu   sync.Mutex
	came map[int64]time.Time
}

var keyPattern = regexp.MustCompile(`"key":\{"id": ?(\d+)\}`)

// receive starts a receiver. Where keys is false it only answers.
func receive(ctx context.Context, keys bool) (*hook, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h := &hook{url: "http://" + listener.Addr().String(), came: map[int64]time.Time{}}
	h.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // A body that is cut off comes again.
		w.WriteHeader(http.StatusNoContent)
		if keys {
			h.take(body)
		}
	})}
	go func() { _ = h.server.Serve(listener) }() // It ends with close.
	return h, nil
}

func (h *hook) take(body []byte) {
	at := now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, match := range keyPattern.FindAllSubmatch(body, -1) {
		id, _ := strconv.ParseInt(string(match[1]), 10, 64) // The pattern matched digits.
		if _, has := h.came[id]; !has {
			h.came[id] = at
		}
	}
}

// lag measures the time from a commit until the change is in the log, and until a webhook has it.
func lag(ctx context.Context, b *bench) (Result, error) {
	s, err := b.site(ctx, b.server, "lag")
	if err != nil {
		return Result{}, err
	}
	defer s.Close()
	receiver, err := receive(ctx, true)
	if err != nil {
		return Result{}, err
	}
	defer receiver.server.Close()
	b.env = []string{"BENCH_HOOK_URL=" + receiver.url}
	err = s.apply(ctx, `capture: {tables: [public.item, public.mark]}
sinks: [{name: hook, kind: webhook, url: $BENCH_HOOK_URL, tables: [public.item], batch: true, allow_private: true}]
`)
	if err != nil {
		return Result{}, err
	}
	w, _, err := s.reads(ctx)
	if w != nil {
		defer w.kill()
	}
	if err != nil {
		return Result{}, err
	}
	if err := s.landed(ctx); err != nil {
		return Result{}, err
	}
	b.meter.step("write")
	landings, stop := s.watch(ctx)
	committed, err := s.commit(ctx, b.seconds*lagRate)
	if err == nil {
		err = s.landed(ctx)
	}
	if err == nil {
		err = s.delivered(ctx, "hook")
	}
	if stopped := stop(); err == nil {
		err = stopped
	}
	if err != nil {
		return Result{}, err
	}
	b.meter.step("compare")
	positions, err := s.positions(ctx)
	if err != nil {
		return Result{}, err
	}
	var toLog, toHook []float64
	for id, at := range committed {
		position, has := positions[id]
		landing := slices.IndexFunc(*landings, func(l landing) bool { return l.position >= position })
		came, arrived := receiver.came[id]
		if !has || landing < 0 || !arrived {
			return Result{}, fmt.Errorf("row %d is missing in the log or at the webhook", id)
		}
		toLog = append(toLog, milliseconds((*landings)[landing].at.Sub(at)))
		toHook = append(toHook, milliseconds(came.Sub(at)))
	}
	got := samples{}
	for name, all := range map[string][]float64{"commit → log": toLog, "commit → webhook": toHook} {
		slices.Sort(all)
		got[name] = []sample{{p50: max(0, quantile(all, 0.5)), p99: max(0, quantile(all, 0.99)), worst: max(0, quantile(all, 1))}}
	}
	return Result{
		Notes: []string{fmt.Sprintf("%d connections commit %d transactions of one row a second for %d seconds, with synchronous_commit on. A receiver takes them in batches.", lagClients, lagRate, b.seconds)},
		Rows:  got.rows("commit → log", "commit → webhook"),
		Ratios: []Ratio{
			{ID: "lag.log", What: "commit → in the log, p99", Value: got.of("commit → log", p99), Unit: "ms", Target: 15},
			{ID: "lag.webhook", What: "commit → delivered to a webhook, p99", Value: got.of("commit → webhook", p99), Unit: "ms", Target: 100},
		},
	}, nil
}

// landing is when the log had reached a position.
type landing struct {
	position int64
	at       time.Time
}

// watch records landings until stop is called, and at least up to the log's position at that time.
func (s *site) watch(ctx context.Context) (landings *[]landing, stop func() error) {
	landings = &[]landing{}
	ctx, cancel := context.WithCancel(ctx)
	group := errgroup.Group{}
	ready, done := make(chan struct{}), make(chan struct{})
	seen := atomic.Int64{} // the last landing's position
	group.Go(func() error {
		defer close(done)
		conn, err := pgx.Connect(ctx, s.url)
		if err == nil {
			defer conn.Close(context.WithoutCancel(ctx))
			_, err = conn.Exec(ctx, "LISTEN daymill_capture")
		}
		if err == nil {
			var position int64
			err = conn.QueryRow(ctx, "SELECT position FROM capture.stream").Scan(&position)
			seen.Store(position)
		}
		close(ready)
		for err == nil {
			if _, err = conn.WaitForNotification(ctx); err == nil {
				at, position := now(), int64(0)
				err = conn.QueryRow(ctx, "SELECT position FROM capture.stream").Scan(&position)
				*landings = append(*landings, landing{position, at})
				seen.Store(position)
			}
		}
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	})
	<-ready
	return landings, func() error {
		defer cancel()
		var last int64
		if err := s.QueryRow(ctx, "SELECT position FROM capture.stream").Scan(&last); err != nil {
			return err
		}
		for seen.Load() < last {
			select {
			case <-done: // It failed.
				return group.Wait()
			default:
			}
			if err := sleep(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
		cancel()
		return group.Wait()
	}
}

// commit inserts rows at lagRate, and returns when the commit of each was answered.
func (s *site) commit(ctx context.Context, rows int) (map[int64]time.Time, error) {
	committed, mu := map[int64]time.Time{}, sync.Mutex{}
	group, ctx := errgroup.WithContext(ctx)
	began := now()
	for client := range lagClients {
		group.Go(func() error {
			conn, err := pgx.Connect(ctx, s.url)
			if err != nil {
				return err
			}
			defer conn.Close(context.WithoutCancel(ctx))
			for i := client; i < rows; i += lagClients {
				if err := sleep(ctx, began.Add(time.Duration(i)*time.Second/lagRate).Sub(now())); err != nil {
					return err
				}
				if _, err := conn.Exec(ctx, "INSERT INTO public.item VALUES ($1, 0, 'body')", i+1); err != nil {
					return err
				}
				at := now()
				mu.Lock()
				committed[int64(i+1)] = at
				mu.Unlock()
			}
			return nil
		})
	}
	return committed, group.Wait()
}

// positions returns the position of each row's insert in the log.
func (s *site) positions(ctx context.Context) (map[int64]int64, error) {
	rows, err := s.Query(ctx, "SELECT (l.new ->> 'id')::bigint, l.position FROM capture.log AS l WHERE l.table_name = 'item' AND l.op = 'insert'")
	if err != nil {
		return nil, err
	}
	found := map[int64]int64{}
	var id, position int64
	_, err = pgx.ForEachRow(rows, []any{&id, &position}, func() error { found[id] = position; return nil })
	return found, err
}
