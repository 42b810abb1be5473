package run_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// Somebody writes rows of the date by hand after the run has read them, so rows that the run considers new already exist.
func TestRunContested(t *testing.T) {
	t.Parallel()
	b := setup(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	b.db.InsertDate(t, day, 1_500, 100)
	b.request(t, day)
	publishing := 0
	_, err := b.runner.Run(t.Context(), run.Order{Date: day, Progress: func(f run.Report) {
		if f.Phase != run.PhasePublish {
			return
		}
		if publishing++; publishing != 2 { // The first is before the rows are read, the second before they are written.
			return
		}
		_, err := b.db.Exec(t.Context(), `
			INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count, other_counts)
			SELECT DISTINCT entity_id, $1::date, 77, '{"share": 5}'::jsonb FROM public.raw_events WHERE created_at::date = $1`, day)
		require.NoError(t, err)
	}})
	require.NoError(t, err)
	require.GreaterOrEqual(t, publishing, 2)
	require.EqualValues(t, 1_500, pgtest.RequireExact(t, b.db).Events)
}

// statements counts the statements of a connection by name.
type statements struct {
	mu    sync.Mutex
	named map[string]int
}

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rest, named := strings.CutPrefix(data.SQL, "-- name: "); named {
		name, _, _ := strings.Cut(rest, " ")
		s.named[name]++
	}
	return ctx
}

func (*statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// Postgres counts if there are few entities, and sends the events if there are nearly as many entities as events. A
// date with few events, or none, is one slice, whose events it sends.
func TestRunCountsWhereItPays(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		events, entities int
		counted, sent    bool
		slices           int // 0 if more than one
	}{
		"FewEntities":  {events: 9_000, entities: 5, counted: true},
		"ManyEntities": {events: 5_000, entities: 5_000, counted: true, sent: true},
		"FewEvents":    {events: 20, entities: 20, slices: 1},
		"None":         {slices: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
			if test.events > 0 {
				b.db.InsertDate(t, day, test.events, test.entities)
			}
			b.request(t, day)
			sent := &statements{named: map[string]int{}}
			db, err := postgres.Open(t.Context(), postgres.Config{URL: b.db.URL, Tracer: sent})
			require.NoError(t, err)
			t.Cleanup(db.Close)
			b.runner.Primary, b.runner.Source = db, db
			b.runner.Options.SliceCounts = 500
			figures, err := b.runner.Run(t.Context(), run.Order{Date: day})
			require.NoError(t, err)
			require.EqualValues(t, test.events, pgtest.RequireExact(t, b.db).Events)
			require.Equal(t, test.counted, sent.named["EventSlice"] > 0, sent.named)
			require.Equal(t, test.sent, sent.named["EventSliceRaw"] > 1, sent.named)
			require.Equal(t, 1, sent.named["EventFew"])
			if test.slices > 0 {
				require.Equal(t, test.slices, figures.Slices)
			} else {
				require.Equal(t, figures.Slices, sent.named["EventSlice"]+sent.named["EventSliceRaw"])
				require.Greater(t, figures.Slices, 3)
			}
		})
	}
}
