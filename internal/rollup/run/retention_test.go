package run_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/rollup/metric"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/rollup/verification"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// sleeper does something instead of sleeping.
type sleeper struct {
	pace.SystemClock

	do func()
}

func (s sleeper) Sleep(context.Context, time.Duration) error {
	s.do()
	return nil
}

// TestRunRetention: months of metrics that are no longer kept are dropped once a person has said so. Their dates stay in the ledger with what they
// counted, are never counted again although their events are there, and need nobody. All other dates stay as they are.
func TestRunRetention(t *testing.T) {
	t.Parallel()
	b := setup(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "America/Sao_Paulo"})
	who := audit.Who{Actor: "anna", Via: audit.ViaCLI}
	retention := func() schema.Retention {
		got, err := schema.GetRetention(t.Context(), b.db)
		require.NoError(t, err)
		return got
	}
	_, err := schema.SetRetention(t.Context(), b.db.DB, 2, true, who)
	require.ErrorIs(t, err, schema.ErrNotPartitioned)
	_, err = schema.Partition(t.Context(), b.db.DB, false, who)
	require.NoError(t, err)

	// The first and the last date of four whole months, and a date that nobody has ever requested.
	today := pgtest.Value[date.Date](t, b.db, "SELECT analytics.date_of(now())")
	month := func(ago int) date.Date {
		return pgtest.Value[date.Date](t, b.db, "SELECT (date_trunc('month', analytics.date_of(now())::timestamp) - make_interval(months => $1))::date", ago)
	}
	var dates []date.Date
	for ago := range 4 {
		dates = append(dates, month(4-ago), month(3-ago).AddDays(-1))
	}
	for i, d := range dates {
		b.db.InsertDate(t, d, 100+i, 20)
		b.rollup(t, d)
	}
	unrequested := month(4).AddDays(1)
	b.db.InsertDate(t, unrequested, 10, 5)
	pgtest.RequireExact(t, b.db, dates...)

	for _, months := range []int{-1, schema.MaxMonths + 1} {
		_, err = schema.SetRetention(t.Context(), b.db.DB, months, true, who)
		require.ErrorIs(t, err, schema.ErrMonths)
	}
	_, err = schema.SetRetention(t.Context(), b.db.DB, 2, false, who)
	require.ErrorIs(t, err, schema.ErrDrops)
	require.ErrorContains(t, err, fmt.Sprintf("this would drop the metrics of 2 months, %s to %s", month(4), month(2).AddDays(-1)))
	require.Zero(t, retention().Months, "nothing was set")
	dropped, err := schema.DropMonths(t.Context(), b.db.DB, pace.SystemClock{}, who)
	require.NoError(t, err)
	require.Zero(t, dropped)

	// What would need a person before.
	b.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'stale' WHERE metric_date = '"+dates[1].String()+"'")
	groups, _, err := ledger.Attention(t.Context(), b.db)
	require.NoError(t, err)
	require.Len(t, groups, 1)
	set, err := schema.SetRetention(t.Context(), b.db.DB, 2, true, who)
	require.NoError(t, err)
	require.Equal(t, month(2), set.From)
	require.Len(t, set.Old, 2)

	// A reader of metrics is waited for, and does not have to wait.
	reader, err := b.db.Begin(t.Context())
	require.NoError(t, err)
	_, err = reader.Exec(t.Context(), "SELECT FROM analytics.daily_entity_metrics LIMIT 1")
	require.NoError(t, err)
	slept := 0
	clock := sleeper{do: func() {
		if slept++; slept == 2 {
			require.Len(t, retention().Old, 2)
			require.NoError(t, reader.Rollback(t.Context()))
		}
	}}
	// A role that works without owning the tables may drop what is no longer kept, and nothing else.
	b.db.Do(t, "CREATE ROLE retention_worker; GRANT USAGE ON SCHEMA analytics TO retention_worker; GRANT EXECUTE ON FUNCTION analytics.drop_metric_month TO retention_worker")
	kept := "analytics.daily_entity_metrics_" + pgtest.Value[string](t, b.db, "SELECT to_char($1::date, 'YYYY_MM')", month(2))
	b.db.Do(t, "SET ROLE retention_worker; DO $$ BEGIN ASSERT NOT analytics.drop_metric_month('"+kept+"') AND NOT analytics.drop_metric_month('public.raw_events'); END $$; RESET ROLE")
	dropped, err = schema.DropMonths(t.Context(), b.db.DB, clock, who)
	require.NoError(t, err)
	require.Equal(t, 2, dropped)
	require.Equal(t, 2, slept)
	require.Empty(t, retention().Old)
	require.Equal(t, dates[4:], pgtest.Column[date.Date](t, b.db, "SELECT DISTINCT metric_date FROM analytics.daily_entity_metrics ORDER BY 1"))
	require.Equal(t, dates[4:], pgtest.Column[date.Date](t, b.db, "SELECT DISTINCT metric_date FROM analytics.daily_entity_metrics_live ORDER BY 1"))
	require.EqualValues(t, 3, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM daymill.audit WHERE action IN ('set retention of metrics', 'drop metrics') AND actor = 'anna'"))
	faults, err := schema.Faults(t.Context(), b.db.DB, b.db.Installation)
	require.NoError(t, err)
	require.Empty(t, faults)

	// The ledger keeps what was counted.
	states, err := ledger.DateStates(t.Context(), b.db, date.Range{First: dates[0], Last: dates[0]}, date.Date{}, "complete", 10)
	require.NoError(t, err)
	require.EqualValues(t, 100, *states[0].Events)
	groups, _, err = ledger.Attention(t.Context(), b.db)
	require.NoError(t, err)
	require.Empty(t, groups)
	status, err := ledger.Read(t.Context(), b.db.DB, 0)
	require.NoError(t, err)
	require.Zero(t, status.Dates["stale"])
	require.Empty(t, status.Broken)
	require.EqualValues(t, 7, status.Dates["complete"])

	// Nothing counts them again.
	planner := &schedule.Planner{Primary: b.db.DB, Source: b.db.DB, Daily: schedule.Daily{Zone: b.db.Installation.Zone, Hour: 2}, Clock: pace.SystemClock{}}
	missing, err := planner.Missing(t.Context())
	require.NoError(t, err)
	require.Empty(t, missing)
	for _, ask := range []string{"analytics.enqueue_rollup('%s')", "analytics.enqueue_erase('%[1]s', '%[1]s')"} {
		for _, d := range []date.Date{dates[0], unrequested} {
			b.db.Do(t, "SELECT "+fmt.Sprintf(ask, d))
			_, err = b.runner.Run(t.Context(), run.Order{Date: d})
			require.ErrorIs(t, err, run.ErrProtected)
			require.ErrorContains(t, err, "because metrics of its month are no longer kept (`daymill migrate retention` keeps more months)")
			require.Equal(t, "protected", b.state(t, d))
		}
	}
	require.Zero(t, b.openRequests(t))
	verifier := &verification.Verifier{Primary: b.db.DB, Source: b.db.DB, Type: b.db.Installation.EntityType, Clock: pace.SystemClock{}}
	result, err := verifier.Verify(t.Context(), verification.Order{Date: dates[2], Repair: verification.RepairAll})
	require.NoError(t, err)
	require.Equal(t, verification.Protected, result.Result)
	sample, of, err := verification.Sample(t.Context(), b.db.DB, 10, 1)
	require.NoError(t, err)
	require.EqualValues(t, 4, of)
	require.Equal(t, dates[4:], sample)
	now := time.Now()
	due, err := db.New(b.db).VerificationDue(t.Context(), db.VerificationDueParams{Since: &now, MaxRows: 10})
	require.NoError(t, err)
	require.ElementsMatch(t, dates[4:], due)

	// The top entities say that they are of the dates that are there.
	top, err := metric.FindTop(t.Context(), b.db.DB, b.db.Installation.EntityType, metric.Metric{Column: metric.Events}, date.Range{First: dates[0], Last: today}, 5)
	require.NoError(t, err)
	require.Len(t, top.Dates, 4)
	require.Zero(t, top.Others)

	// Kept for good again, they can be counted.
	_, err = schema.SetRetention(t.Context(), b.db.DB, 0, false, who)
	require.NoError(t, err)
	for _, d := range dates[:4] {
		b.rollup(t, d)
	}
	pgtest.RequireExact(t, b.db, dates...)
}
