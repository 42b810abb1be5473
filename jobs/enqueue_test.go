package jobs_test

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/jobs"
)

// TestEnqueueEntities reads the request that a transaction made. Entities are whatever text an application has.
func TestEnqueueEntities(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Text, TimeZone: "UTC"})
	client, err := river.NewClient(riverpgxv5.New(db.Application(t)), &river.Config{})
	require.NoError(t, err)
	day, err := jobs.ParseDate("2026-03-01")
	require.NoError(t, err)
	require.Equal(t, jobs.NewDate(2026, time.March, 1), day)
	require.Equal(t, day, jobs.DateOf(time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC), time.FixedZone("west", -4*3600)))

	many := make([]string, 10_001)
	for i := range many {
		many[i] = strconv.Itoa(i)
	}
	odd := []string{"a'b", `c"d\`, "{e,f}", "ＮＵＬＬ", "NULL", " ", "🙂"}
	for name, test := range map[string]struct {
		entities, want []string
		requests       int
	}{
		"Odd":   {entities: odd, want: odd, requests: 1},
		"Twice": {entities: []string{"1", "2", "1"}, want: []string{"1", "2"}, requests: 1},
		"None":  {requests: 0},
		"Many":  {entities: many, want: nil, requests: 1}, // For the whole date.
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tx, err := db.Begin(t.Context())
			require.NoError(t, err)
			defer tx.Rollback(t.Context()) //nolint:errcheck // The error does not matter.
			require.NoError(t, jobs.EnqueueEntities(t.Context(), tx, client, day, test.entities...))
			rows, err := tx.Query(t.Context(), "SELECT entities FROM analytics.rollup_requests WHERE metric_date = '2026-03-01' AND requested_via = 'go'")
			require.NoError(t, err)
			requests, err := pgx.CollectRows(rows, pgx.RowTo[[]string])
			require.NoError(t, err)
			require.Len(t, requests, test.requests)
			for _, entities := range requests {
				slices.Sort(entities)
				require.Equal(t, slices.Sorted(slices.Values(test.want)), entities)
			}
		})
	}

	tx, err := db.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	require.ErrorContains(t, jobs.EnqueueEntities(t.Context(), tx, client, jobs.Date{}, "1"), "a date is missing")
}
