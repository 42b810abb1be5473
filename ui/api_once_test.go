package ui_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/ui"
)

// lookClock tells when somebody waits.
type lookClock struct {
	pace.SystemClock

	slept chan struct{}
}

func (c *lookClock) Now() time.Time { return time.Date(2026, time.March, 10, 12, 0, 0, 0, time.UTC) }

func (c *lookClock) Sleep(ctx context.Context, d time.Duration) error {
	c.slept <- struct{}{}
	return c.SystemClock.Sleep(ctx, d)
}

// TestAPIOnce: calls with the same key do their work once, and all get the same answer.
func TestAPIOnce(t *testing.T) {
	t.Parallel()
	type testBundle struct{ *api }
	setup := func(t *testing.T) *testBundle {
		t.Helper()
		return &testBundle{newAPI(t, database(t), nil)}
	}
	const (
		ask    = `{"date": "2026-03-01"}`
		header = "Idempotency-Key"
	)
	key := func(value string) callOption { return func(r *http.Request) { r.Header.Set(header, value) } }
	requests := func(t *testing.T, b *testBundle) int64 {
		t.Helper()
		return b.count(t, "SELECT count(*) FROM analytics.rollup_requests")
	}

	// Every call that makes something or acts in bulk. Sent without a key, most of them answer otherwise the second time, or make two of it.
	t.Run("AtOnce", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.db.Do(t, `INSERT INTO river_job (kind, args, max_attempts, state, finalized_at, attempt, queue)
			SELECT 'backfill', jsonb_build_object('n', i), 6, 'discarded', now(), 6, 'daymill' FROM generate_series(1, 40) AS i`)
		ids := func(from, to string) string {
			return pgtest.Value[string](t, b.db, `SELECT '[' || string_agg(id::text, ',') || ']' FROM river_job WHERE (args ->> 'n')::integer BETWEEN `+from+` AND `+to)
		}
		for _, c := range []struct{ path, body, count string }{
			{"/api/rollups", ask, "SELECT count(*) FROM analytics.rollup_requests"},
			{"/api/backfills", `{"from": "2026-02-01", "to": "2026-02-03"}`, "SELECT count(*) FROM analytics.backfills"},
			{"/api/verifications", `{"date": "2026-03-01"}`, "SELECT count(*) FROM river_job WHERE kind = 'verify_dates'"},
			{"/api/schedules/daily_rollup/run", "{}", "SELECT count(*) FROM river_job WHERE kind = 'daily_rollup'"},
			{"/api/jobs/retry", `{"ids": ` + ids("1", "10") + `}`, "SELECT count(*) FROM daymill.audit WHERE action = 'retry jobs'"},
			{"/api/jobs/cancel", `{"ids": ` + ids("1", "10") + `}`, "SELECT count(*) FROM daymill.audit WHERE action = 'cancel jobs'"},
			{"/api/jobs/delete", `{"ids": ` + ids("11", "30") + `}`, "SELECT count(*) FROM daymill.audit WHERE action = 'delete jobs'"},
		} {
			var (
				group   sync.WaitGroup
				answers [6]response
			)
			for i := range answers {
				group.Go(func() { answers[i] = b.call(t, "POST", c.path, c.body, key("k "+c.path)) })
			}
			group.Wait()
			for _, answer := range append(answers[1:], b.call(t, "POST", c.path, c.body, key("k "+c.path))) {
				require.Less(t, answer.status, 300, answer.body)
				require.Equal(t, answers[0].status, answer.status, c.path)
				require.JSONEq(t, answers[0].body, answer.body, c.path)
				require.Equal(t, answers[0].header.Get("Location"), answer.header.Get("Location"), c.path)
			}
			require.EqualValues(t, 1, b.count(t, c.count), c.path)
		}
	})

	// The call goes on when its client is gone, and the client gets the answer when it asks again.
	t.Run("ClientGone", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		tx, err := b.db.Begin(t.Context())
		require.NoError(t, err)
		defer func() { require.NoError(t, tx.Rollback(context.WithoutCancel(t.Context()))) }()
		_, err = tx.Exec(t.Context(), "LOCK TABLE analytics.rollup_requests IN SHARE MODE")
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.URL+"/api/rollups", strings.NewReader(ask))
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer token")
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set(header, "gone")
		ended := make(chan error)
		go func() {
			answer, err := http.DefaultClient.Do(request)
			if err == nil {
				_ = answer.Body.Close() // It must not come.
			}
			ended <- err
		}()
		b.db.Wait(t, "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'analytics.rollup_requests'::regclass)")
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.NoError(t, tx.Commit(t.Context()))
		tx, err = b.db.Begin(t.Context())
		require.NoError(t, err)
		answer := b.call(t, "POST", "/api/rollups", ask, key("gone"))
		require.Equal(t, http.StatusAccepted, answer.status, answer.body)
		require.EqualValues(t, 1, requests(t, b))
	})

	t.Run("Interrupted", func(t *testing.T) {
		t.Parallel()
		clock := &lookClock{slept: make(chan struct{}, 100)}
		b := &testBundle{newAPI(t, database(t), func(c *ui.Config) { c.Clock = clock })}
		require.Equal(t, http.StatusAccepted, b.call(t, "POST", "/api/rollups", ask, key("k")).status)
		// Another process is at it, and ends.
		b.db.Do(t, "UPDATE daymill.calls SET status = 0")
		answered := make(chan response, 1)
		var group sync.WaitGroup
		group.Go(func() { answered <- b.call(t, "POST", "/api/rollups", ask, key("k")) })
		defer group.Wait()
		for range 3 {
			select {
			case answer := <-answered:
				t.Fatalf("it did not wait: %s", answer.body)
			case <-clock.slept:
			}
		}
		b.db.Do(t, "UPDATE daymill.calls SET status = 202")
		require.Equal(t, http.StatusAccepted, (<-answered).status)
		// Another process was at it, and died; or it did not learn whether its transaction was committed.
		for _, state := range []string{"status = 0, began_at = now() - interval '2 minutes'", "status = -1, began_at = now()"} {
			b.db.Do(t, "UPDATE daymill.calls SET "+state)
			answer := b.call(t, "POST", "/api/rollups", ask, key("k"))
			require.Equal(t, http.StatusConflict, answer.status)
			require.Contains(t, answer.body, "was interrupted")
		}
		require.EqualValues(t, 1, requests(t, b))
	})

	t.Run("Refused", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		// A mistake does not use up the key.
		require.Equal(t, http.StatusUnprocessableEntity, b.call(t, "POST", "/api/rollups", `{"date": "2099-01-01"}`, key("k")).status)
		require.Zero(t, b.count(t, "SELECT count(*) FROM daymill.calls"))
		require.Equal(t, http.StatusAccepted, b.call(t, "POST", "/api/rollups", ask, key("k")).status)
		// Another date, or another call, is not the same.
		require.Equal(t, http.StatusUnprocessableEntity, b.call(t, "POST", "/api/rollups", `{"date": "2026-03-02"}`, key("k")).status)
		require.Equal(t, http.StatusUnprocessableEntity, b.call(t, "POST", "/api/verifications", ask, key("k")).status)
		// Somebody else's key is another one, and a key that is too long is none.
		require.Equal(t, http.StatusAccepted, b.call(t, "POST", "/api/rollups", ask, key("k"), basic("admin", adminPassword)).status)
		require.EqualValues(t, 2, requests(t, b))
		require.Equal(t, http.StatusUnprocessableEntity, b.call(t, "POST", "/api/rollups", ask, key(strings.Repeat("é", 101))).status)
		require.Equal(t, http.StatusUnprocessableEntity, b.call(t, "POST", "/api/rollups", ask, key("\xff")).status)
		require.Equal(t, http.StatusRequestEntityTooLarge, b.call(t, "POST", "/api/rollups", `{"date": "`+strings.Repeat("x", 70_000)+`"}`, key("l")).status)
		require.Equal(t, http.StatusForbidden, b.call(t, "POST", "/api/rollups", ask, key("k"), basic("viewer", viewerPassword)).status)
		require.EqualValues(t, 2, requests(t, b))
	})

	// Nobody knows whether a call whose transaction failed in an unexpected way did its work.
	t.Run("Unknown", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.db.Do(t, `CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
			CREATE TRIGGER refuse BEFORE INSERT ON analytics.rollup_requests FOR EACH STATEMENT EXECUTE FUNCTION public.refuse()`)
		require.Equal(t, http.StatusInternalServerError, b.call(t, "POST", "/api/rollups", ask, key("k")).status)
		require.EqualValues(t, -1, b.count(t, "SELECT status FROM daymill.calls"))
		require.Equal(t, http.StatusConflict, b.call(t, "POST", "/api/rollups", ask, key("k")).status)
	})
}
