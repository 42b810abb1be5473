package metric_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/metric"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var march = date.Range{First: date.MustParse("2026-03-01"), Last: date.MustParse("2026-03-31")}

type testBundle struct{ *pgtest.DB }

func setup(t *testing.T, entityType entity.Type) *testBundle {
	t.Helper()
	return &testBundle{pgtest.Database(t, pgtest.Installed{EntityType: entityType, TimeZone: "UTC"})}
}

// row writes a row, and the date it belongs to.
func (b *testBundle) row(t *testing.T, day, id string, views int, other string) {
	t.Helper()
	b.Do(t, `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count, clicks_count, other_counts)
		VALUES ($1::text::analytics.entity_id, $2::text::date, $3, 1, $4::text::jsonb)`, id, day, views, other)
	b.Do(t, `INSERT INTO analytics.rollup_dates AS d
		(metric_date, state, run_id, scan_run_id, completed_at, complete_run_id, events, entities)
		VALUES ($1::text::date, 'complete', 1, 1, now(), 1, 1, 1)
		ON CONFLICT (metric_date) DO UPDATE SET entities = d.entities + 1`, day)
}

// explainer records the plan of every query that goes through it.
type explainer struct {
	postgres.DBTX

	plans *[]string
}

func (e explainer) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows, err := e.DBTX.Query(ctx, "EXPLAIN "+sql, args...)
	if err != nil {
		return nil, err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	*e.plans = append(*e.plans, strings.Join(lines, "\n"))
	return e.DBTX.Query(ctx, sql, args...)
}

// TestPlans: every query uses an index, on a table that is large enough for the planner to choose one.
func TestPlans(t *testing.T) {
	t.Parallel()
	for _, entityType := range []entity.Type{entity.Bigint, entity.Text, entity.UUID} {
		t.Run(string(entityType), func(t *testing.T) {
			t.Parallel()
			b := setup(t, entityType)
			id := "md5(e::text)::uuid"
			if entityType == entity.Bigint {
				id = "e"
			}
			b.Do(t, `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count, other_counts)
				SELECT (`+id+`)::text::analytics.entity_id, '2025-06-01'::date + d, e, '{"share": 1}'
				FROM generate_series(1, 200) AS e, generate_series(0, 299) AS d`)
			b.Do(t, `INSERT INTO analytics.rollup_dates
				(metric_date, state, run_id, scan_run_id, completed_at, complete_run_id, events, entities)
				SELECT '2016-06-01'::date + d, 'complete', d, d, now(), d, 200, 200 FROM generate_series(0, 3585) AS d`)
			b.Do(t, "ANALYZE analytics.daily_entity_metrics, analytics.rollup_dates")
			var known string
			require.NoError(t, b.QueryRow(t.Context(), "SELECT max(entity_id::text) FROM analytics.daily_entity_metrics").Scan(&known))

			var plans []string
			err := b.Read(t.Context(), func(on postgres.DBTX) error {
				on = explainer{on, &plans}
				ctx, queries := t.Context(), db.New(on)
				days, err := metric.Days(ctx, on, known, march, 100)
				require.Len(t, days, 27)
				_, exists, err1 := metric.Bounds(ctx, on, known)
				require.True(t, exists)
				names, err2 := metric.Names(ctx, on, march, 10)
				require.Equal(t, []string{"share"}, names)
				top, err3 := queries.MetricReadTop(ctx, db.MetricReadTopParams{
					Metric: metric.Views, MetricDates: []date.Date{march.First, march.First.AddDays(1)}, MaxRows: 10,
				})
				require.Len(t, top, 10)
				require.EqualValues(t, 400, top[0].Total)
				if entityType == entity.Text {
					found, err := metric.WithPrefix(ctx, on, known[:2], 10)
					require.NoError(t, err)
					require.Contains(t, found, known)
				}
				return errors.Join(err, err1, err2, err3)
			})
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(plans), 5)
			for _, plan := range plans {
				require.NotContains(t, plan, "Seq Scan", plan)
				require.Contains(t, plan, "Index", plan)
			}
		})
	}
}

func TestEach(t *testing.T) {
	t.Parallel()
	b := setup(t, entity.Bigint)
	b.Do(t, `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count)
		SELECT 7, '2020-01-01'::date + d, d FROM generate_series(0, 1300) AS d`)
	long := date.Range{First: date.MustParse("2020-01-02"), Last: date.MustParse("2029-01-01")}
	var got []date.Date
	require.NoError(t, metric.Each(t.Context(), b.DB.DB, "7", long, func(day metric.Day) error {
		require.EqualValues(t, day.Date.Sub(long.First)+1, day.Views)
		got = append(got, day.Date)
		return nil
	}))
	require.Len(t, got, 1300)
	stop := errors.New("stop")
	require.ErrorIs(t, metric.Each(t.Context(), b.DB.DB, "7", long, func(metric.Day) error { return stop }), stop)
}

func TestFindTop(t *testing.T) {
	t.Parallel()
	b := setup(t, entity.Bigint)
	b.row(t, "2026-03-01", "1", 5, `{"share": 3}`)
	b.row(t, "2026-03-01", "2", 6, `{}`)
	b.row(t, "2026-03-02", "1", 5, `{"share": 4}`)
	b.row(t, "2026-04-01", "3", 500, `{}`)
	// The rows of a date that was begun and never complete do not count.
	b.Do(t, "INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count) VALUES (9, '2026-03-09', 900)")
	find := func(by metric.Metric, dates int) (top metric.Top) {
		// The time limit may run out on a loaded machine.
		require.Eventually(t, func() bool {
			var err error
			top, err = metric.FindTop(t.Context(), b.DB.DB, entity.Bigint, by, march, 10)
			return err == nil && !top.Cut && len(top.Dates) == dates
		}, 2*time.Minute, time.Millisecond)
		return top
	}
	top := find(metric.Metric{Column: metric.Views}, 2)
	require.Equal(t, []metric.Ranked{{ID: "1", Count: 10}, {ID: "2", Count: 6}}, top.Entities)
	require.Equal(t, []date.Date{date.MustParse("2026-03-02"), march.First}, top.Dates)
	require.Equal(t, []metric.Ranked{{ID: "1", Count: 7}}, find(metric.Metric{EventType: "share"}, 2).Entities)
	require.Empty(t, find(metric.Metric{EventType: "no'such"}, 2).Entities)

	// A period that is too long is reduced to its latest dates, and the result says so.
	b.Do(t, "UPDATE analytics.rollup_dates SET entities = 80000 WHERE metric_date < '2026-04-01'")
	top = find(metric.Metric{Column: metric.Views}, 1)
	require.Equal(t, []date.Date{date.MustParse("2026-03-02")}, top.Dates)
	require.Equal(t, 1, top.Others)
	require.Equal(t, []metric.Ranked{{ID: "1", Count: 5}}, top.Entities)

	// So is one that takes too long: a million counts do.
	b.Do(t, "UPDATE analytics.rollup_dates SET entities = 1")
	b.Do(t, `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, other_counts)
		SELECT e, '2026-03-01', o.counts
		FROM (SELECT jsonb_object_agg(i, i) AS counts FROM generate_series(1, 100000) AS i) AS o, generate_series(11, 20) AS e`)
	top = find(metric.Metric{Column: metric.Events}, 1)
	require.Equal(t, []date.Date{date.MustParse("2026-03-02")}, top.Dates)
	require.Equal(t, 1, top.Others)
	require.Equal(t, []metric.Ranked{{ID: "1", Count: 10}}, top.Entities)
}

func TestID(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		entityType entity.Type
		text, want string
		wrong      string
	}{
		{entityType: entity.Bigint, text: " 42 ", want: "42"},
		{entityType: entity.Bigint, text: "+7", want: "7"},
		{entityType: entity.Bigint, text: "4'2", wrong: "not a whole number"},
		{entityType: entity.Text, text: " a ", want: " a "},
		{entityType: entity.Text, text: "", wrong: "give the id"},
		{entityType: entity.Text, text: "a\x00b", wrong: "NUL"},
		{entityType: entity.Text, text: "\xff", wrong: "not UTF-8"},
		{entityType: entity.UUID, text: "{0F8FAD5B-D9CB-469F-A165-70867728950E}", want: "0f8fad5b-d9cb-469f-a165-70867728950e"},
		{entityType: entity.UUID, text: strings.Repeat("x", 10_000), wrong: "not a uuid"},
	} {
		got, err := metric.ID(c.entityType, c.text)
		if c.wrong == "" {
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			continue
		}
		require.ErrorContains(t, err, c.wrong)
		require.Less(t, len(err.Error()), 200)
	}
}

func TestWithPrefix(t *testing.T) {
	t.Parallel()
	b := setup(t, entity.Text)
	ids := []string{"", "%", "%a", "A", "a", "aa", "ab", "a\U0010FFFF", "a\U0010FFFFz", "b", "\uD7FF", "\uD7FFx", "\uE000", "\U0010FFFF", "\U0010FFFFq"}
	for _, id := range ids {
		b.row(t, "2026-03-01", id, 1, "{}")
		b.row(t, "2026-03-02", id, 1, "{}")
	}
	for prefix, want := range map[string][]string{
		"%": {"%", "%a"}, "a": {"a", "aa", "ab", "a\U0010FFFF", "a\U0010FFFFz"}, "a\U0010FFFF": {"a\U0010FFFF", "a\U0010FFFFz"},
		"z": nil, "\uD7FF": {"\uD7FF", "\uD7FFx"}, "\U0010FFFF": {"\U0010FFFF", "\U0010FFFFq"},
	} {
		err := b.Read(t.Context(), func(on postgres.DBTX) error {
			found, err := metric.WithPrefix(t.Context(), on, prefix, 50)
			require.ElementsMatch(t, want, found, "%q", prefix)
			limited, err1 := metric.WithPrefix(t.Context(), on, prefix, 1)
			require.LessOrEqual(t, len(limited), 1)
			return errors.Join(err, err1)
		})
		require.NoError(t, err)
	}
}
