package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

// How long a test waits for a condition, and how often it checks.
const (
	waitFor = 2 * time.Minute
	tick    = 50 * time.Millisecond
)

// command runs a verb on a database and returns its exit code and output.
func command(ctx context.Context, url string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs}
	code = execute(ctx, a, append([]string{"--database-url", url}, args...))
	return code, out.String(), errs.String()
}

func requireOK(t *testing.T, url string, args ...string) string {
	t.Helper()
	code, stdout, stderr := command(t.Context(), url, args...)
	require.Equal(t, exitOK, code, stderr)
	return stdout
}

// startWorker runs `daymill worker` until the test ends.
func startWorker(t *testing.T, url string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		code, _, stderr := command(ctx, url, append([]string{"worker", "--log-level", "warn"}, args...)...)
		if code != exitOK {
			t.Error("the worker failed: ", stderr)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
}

// awaitQuiet waits until no request for a past date is open.
func awaitQuiet(t *testing.T, db *pgtest.DB) {
	t.Helper()
	require.Eventually(t, func() bool {
		var open bool
		err := db.QueryRow(t.Context(),
			"SELECT EXISTS(SELECT FROM analytics.rollup_requests WHERE resolved_at IS NULL)").Scan(&open)
		return err == nil && !open
	}, waitFor, tick)
}

// TestArticles: events get from the file to the metrics, with the known totals.
func TestArticles(t *testing.T) {
	t.Parallel()
	for _, log := range pgtest.Articles(t) {
		zones := []string{"America/Sao_Paulo", "UTC"}
		if log.Name == pgtest.Made {
			zones = zones[:1] // With clocks that change.
		}
		for _, zone := range zones {
			t.Run(log.Name+"/"+zone, func(t *testing.T) {
				t.Parallel()
				db := pgtest.Empty(t)
				requireOK(t, db.URL, "migrate", "--entity-type", "bigint", "--timezone", zone)
				requireOK(t, db.URL, "source", "create")
				load := func() {
					requireOK(t, db.URL, append([]string{"import", log.Path}, pgtest.ArticlesImport()...)...)
				}
				load()
				startWorker(t, db.URL, "--pace", "0", "--lookback", "0")
				awaitQuiet(t, db)
				want := pgtest.Recount{Dates: int64(log.Dates[zone]), Rows: int64(log.Rows[zone]), Events: int64(log.Events)}
				require.Equal(t, want, pgtest.RequireExact(t, db))

				// Importing the file again doubles every count. Without the new events, the counts are as before.
				load()
				awaitQuiet(t, db)
				require.Equal(t, pgtest.Recount{Dates: want.Dates, Rows: want.Rows, Events: 2 * want.Events}, pgtest.RequireExact(t, db))

				_, err := db.Exec(t.Context(), "DELETE FROM public.raw_events WHERE id > $1", want.Events)
				require.NoError(t, err)
				requireOK(t, db.URL, "enqueue", "2016-03-13..2017-02-28")
				awaitQuiet(t, db)
				require.Equal(t, want, pgtest.RequireExact(t, db))
			})
		}
	}
}

// TestSales: entities that are text, and 38 event types without their own column.
func TestSales(t *testing.T) {
	t.Parallel()
	for _, log := range pgtest.Sales(t) {
		t.Run(log.Name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Empty(t)
			requireOK(t, db.URL, "migrate", "--entity-type", "text", "--timezone", "Europe/London")
			requireOK(t, db.URL, "source", "create")
			requireOK(t, db.URL, append([]string{"import", log.Path}, pgtest.SalesImport()...)...)
			startWorker(t, db.URL, "--pace", "0", "--lookback", "0")
			awaitQuiet(t, db)
			recount := pgtest.RequireExact(t, db)
			require.EqualValues(t, log.Dates["Europe/London"], recount.Dates)
			require.EqualValues(t, log.Events, recount.Events)
			var columns int64
			err := db.QueryRow(t.Context(), "SELECT sum(views_count + clicks_count + saves_count + skips_count) "+
				"FROM analytics.daily_entity_metrics").Scan(&columns)
			require.NoError(t, err)
			require.Zero(t, columns, "countries belong into other_counts")
		})
	}
}
