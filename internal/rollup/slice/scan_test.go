package slice_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/rollup/slice"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// outcomes collects the outcomes of slices.
type outcomes struct {
	mu  sync.Mutex
	all []string
}

func (o *outcomes) Listen(ctx context.Context, one telemetry.Signal) context.Context {
	o.mu.Lock()
	defer o.mu.Unlock()
	if read, is := one.(signal.Slice); is {
		o.all = append(o.all, read.Outcome)
	}
	return ctx
}

// How a scan divides a date depends on the distribution of its events. All events are counted once.
func TestScan(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		insert   string // what generates instants, as "at"
		counts   int    // of Scanner
		events   int64
		dense    bool
		one, few bool // slices: one, or at most three
	}{
		"Empty":   {insert: "SELECT '2026-03-01 00:00+00'::timestamptz AS at WHERE false", few: true},
		"Few":     {insert: "SELECT '2026-03-01 00:00+00'::timestamptz + i * interval '1 hour' AS at FROM generate_series(0, 23) AS i", events: 24, one: true},
		"Instant": {insert: "SELECT '2026-03-01 12:00+00'::timestamptz AS at FROM generate_series(1, 3000) AS i", counts: 100, events: 3000, dense: true, few: true},
		"Many":    {insert: "SELECT '2026-03-01 00:00+00'::timestamptz + i * interval '20 seconds' AS at FROM generate_series(0, 4000) AS i", counts: 500, events: 4001},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
			db.RawEvents(t)
			_, err := db.Exec(t.Context(), "INSERT INTO public.raw_events (entity_id, event_type, created_at) SELECT extract(epoch FROM s.at)::bigint % 977, 'view', s.at FROM ("+test.insert+") AS s; ANALYZE public.raw_events")
			require.NoError(t, err)
			session, err := db.Session(t.Context())
			require.NoError(t, err)
			t.Cleanup(func() { session.Release(context.WithoutCancel(t.Context())) })
			heard := &outcomes{}
			scanner := &slice.Scanner{
				Session: session, Type: entity.Bigint, Pacer: &pace.Pacer{Clock: pace.SystemClock{}}, Counts: test.counts, Listeners: telemetry.Listeners{heard},
			}
			from := time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC)
			var done []float64
			table := merge.New(0)
			require.NoError(t, scanner.Scan(t.Context(), date.Bounds{From: from, To: from.AddDate(0, 0, 1)}, nil, table, func(part float64) error {
				done = append(done, part)
				return nil
			}))
			rows := table.Rows()
			require.Equal(t, test.events, rows.Events())
			require.True(t, slices.IsSorted(done))
			require.Equal(t, test.dense, slices.Contains(heard.all, signal.Dense))
			switch {
			case test.one:
				require.Equal(t, 1, scanner.Slices)
			case test.few:
				require.LessOrEqual(t, scanner.Slices, 3)
			default:
				require.Greater(t, scanner.Slices, 1)
			}
		})
	}
}
