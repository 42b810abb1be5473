package ledger_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestManyOpen: pages and /metrics read about one open request per date, however many there are, up to the bounds of what they count.
func TestManyOpen(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const dates = 40
	b.db.Do(t, `SET daymill.notify = off;
		INSERT INTO analytics.rollup_requests (metric_date, requested_via, due_at, resolved_at, resolution)
		SELECT date '2026-03-01' - i % 40, 'sql', now() - interval '1 day', now() - i * interval '1 minute', 'satisfied' FROM generate_series(1, 20000) AS i;
		INSERT INTO analytics.rollup_requests (metric_date, requested_via, due_at)
		SELECT date '2026-03-01' - i % 40, 'sql', now() - i * interval '1 second' FROM generate_series(1, 140000) AS i;
		RESET daymill.notify`)
	b.db.Do(t, `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id, completed_at, heartbeat_at, events, entities)
		SELECT date '2026-03-01' - i, 'complete', i + 1, i + 1, now(), now(), 10, 10 FROM generate_series(0, 364) AS i`)
	b.db.Do(t, "VACUUM ANALYZE analytics.rollup_requests, analytics.rollup_dates")
	first, last := date.New(2025, time.March, 1), date.New(2026, time.March, 31)
	read := regexp.MustCompile(`rollup_requests .*\(actual rows=(\d+)(?:\.\d+)? loops=(\d+)\)`)

	for name, one := range map[string]struct {
		most int
		read func(t *testing.T, queries *db.Queries) error
	}{
		"Attention": {2 * dates, func(t *testing.T, queries *db.Queries) error {
			t.Helper()
			_, err := queries.LedgerAttention(t.Context(), 1000)
			return err
		}},
		"Calendar": {2 * dates, func(t *testing.T, queries *db.Queries) error {
			t.Helper()
			_, err := queries.CalendarDates(t.Context(), db.CalendarDatesParams{FirstDate: first, LastDate: last})
			return err
		}},
		"Date": {2*dates + 1_000, func(t *testing.T, queries *db.Queries) error {
			t.Helper()
			row, err := queries.LedgerDateGet(t.Context(), date.New(2026, time.March, 1))
			require.EqualValues(t, ledger.MostOpen, row.OpenRequests)
			return err
		}},
		"Failures": {2 * dates, func(t *testing.T, queries *db.Queries) error {
			t.Helper()
			_, err := queries.CalendarFailures(t.Context(), 20)
			return err
		}},
		"Gauges": {2*dates + 100_000, func(t *testing.T, queries *db.Queries) error {
			t.Helper()
			row, err := queries.LedgerGauges(t.Context(), schedule.Name)
			require.EqualValues(t, 100_000, row.OpenRequests)
			require.Greater(t, row.OldestDueSeconds, 139_000.0)
			return err
		}},
		"NextDue": {2 * dates, func(t *testing.T, queries *db.Queries) error {
			t.Helper()
			_, err := queries.LedgerNextDue(t.Context())
			require.ErrorContains(t, err, "no rows", "all are due")
			return nil
		}},
		"States": {2 * dates, func(t *testing.T, queries *db.Queries) error {
			t.Helper()
			row, err := queries.LedgerDates(t.Context())
			require.EqualValues(t, dates, row.Requested)
			require.EqualValues(t, 365-dates, row.Complete)
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			on := &pgtest.Explainer{DBTX: b.db, Analyze: true}
			require.NoError(t, one.read(t, db.New(on)))
			require.Len(t, on.Plans, 1)
			rows := 0
			for _, node := range read.FindAllStringSubmatch(on.Plans[0], -1) {
				n, err := strconv.Atoi(node[1])
				require.NoError(t, err)
				loops, err := strconv.Atoi(node[2])
				require.NoError(t, err)
				rows += n * loops
			}
			require.Positive(t, rows, strings.ReplaceAll(on.Plans[0], "\n", "\n  "))
			require.LessOrEqual(t, rows, one.most, on.Plans[0])
		})
	}
}
