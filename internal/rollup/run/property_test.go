package run_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// fitfulClock makes statements take a random time, from zero to half a second. Slices and batches adapt to how long statements take, so they get
// every size. Pauses end at once.
type fitfulClock struct {
	mu     sync.Mutex
	now    time.Time
	random *rand.Rand
}

func (c *fitfulClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	steps := []time.Duration{0, 0, time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond}
	c.now = c.now.Add(steps[c.random.IntN(len(steps))])
	return c.now
}

func (*fitfulClock) Sleep(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }

// zonedDates are dates that are unusual in their zones.
var zonedDates = []struct {
	zone string
	day  date.Date
}{
	{"America/Havana", date.MustParse("2024-03-10")},      // has no midnight
	{"America/Havana", date.MustParse("2024-11-03")},      // has two
	{"America/Sao_Paulo", date.MustParse("2018-11-04")},   // begins at one
	{"America/St_Johns", date.MustParse("2010-11-07")},    // goes back at one minute past midnight
	{"Asia/Kathmandu", date.MustParse("2024-03-10")},      // 5:45
	{"Australia/Lord_Howe", date.MustParse("2024-04-07")}, // half an hour longer
	{"Pacific/Apia", date.MustParse("2011-12-31")},        // the day before never was
	{"UTC", date.MustParse("2026-03-01")},
}

// TestRunEqualsRecount: whatever the events, the stored rows, the slices, the batches, the memory bound and the zone are, a run leaves the same rows
// as a plain count, and another run then writes nothing.
func TestRunEqualsRecount(t *testing.T) {
	t.Parallel()
	b := setup(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	ctx := t.Context()
	exec := func(t *rapid.T, sql string, args ...any) {
		_, err := b.db.Exec(ctx, sql, args...)
		require.NoError(t, err, sql)
	}
	shapes := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		where := rapid.SampledFrom(zonedDates).Draw(t, "date")
		count := rapid.IntRange(1, 300).Draw(t, "events")
		entities := rapid.IntRange(1, 90).Draw(t, "entities")
		stored := rapid.IntRange(0, 60).Draw(t, "stored rows")
		clumped := rapid.IntRange(0, 3).Draw(t, "how clumped")
		bound := rapid.IntRange(1, 120).Draw(t, "bound")
		sliced := rapid.OneOf(rapid.IntRange(1, 60), rapid.Just(10_000)).Draw(t, "counts of a slice") // With the last, the date is small.
		seed := rapid.Uint64().Draw(t, "seed")

		exec(t, fmt.Sprintf(
			"CREATE OR REPLACE FUNCTION analytics.time_zone() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '%s' $$", where.zone))
		exec(t, "TRUNCATE public.raw_events, analytics.daily_entity_metrics, analytics.rollup_dates, analytics.rollup_requests")
		// Of three dates, the first and the last instant of each included.
		exec(t, `
			INSERT INTO public.raw_events (entity_id, event_type, created_at)
			SELECT hashint8extended(hashint4extended(i, $4) & 65535, 0) % $3::integer,
				(ARRAY['view', 'click', 'save', 'skip', 'share', 'other'])[1 + (hashint4extended(i, $4 + 1) & 7) % 6],
				least(b.last - interval '1 microsecond', b.first + (b.last - b.first)
					* power((hashint4extended(i, $4 + 2) & 1048575) / 1048575.0, 1 + $5::integer))
			FROM generate_series(1, $2::integer) AS i,
				LATERAL (SELECT $1::date + CASE WHEN i % 7 = 0 THEN -1 WHEN i % 11 = 0 THEN 1 ELSE 0 END) AS d (day),
				LATERAL (SELECT analytics.date_start(d.day), analytics.date_start(d.day + 1)) AS b (first, last)`,
			where.day, count, entities, int64(seed>>2), clumped)
		exec(t, `
			INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count, clicks_count, other_counts)
			SELECT hashint8extended(i, 0) % $3::integer, $1::date, i % 4, i % 3, CASE WHEN i % 5 = 0 THEN '{"share": 2}' ELSE '{}' END::jsonb
			FROM generate_series(1, $2::integer) AS i ON CONFLICT DO NOTHING`,
			where.day, stored, 2*entities)

		runner := newRunner(b.db, "property")
		runner.Options.MaxEntities, runner.Options.SliceCounts = bound, sliced
		runner.Clock = &fitfulClock{now: time.Now(), random: rand.New(rand.NewPCG(seed, 0))}
		roll := func() run.Report {
			exec(t, "SELECT analytics.enqueue_rollup($1)", where.day)
			figures, err := runner.Run(ctx, run.Order{Date: where.day})
			require.NoError(t, err)
			recount, err := pgtest.Exact(ctx, b.db, where.day)
			require.NoError(t, err)
			require.Equal(t, recount.Events, figures.Events)
			return figures
		}
		first := roll()
		again := roll()
		require.Zero(t, again.Inserted+again.Updated+again.Deleted)
		shapes[fmt.Sprintf("passes %t, slices per pass %t, dense %t, batches per pass %t, deleted %t",
			first.Passes > 1, first.Slices > first.Passes, first.Fetches > 0, first.Batches > first.Passes, first.Deleted > 0)]++
	})
	t.Log(shapes)
}
