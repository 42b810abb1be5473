package schedule_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/schedule"
)

// TestPause pauses a daily job that has never run.
func TestPause(t *testing.T) {
	t.Parallel()
	b := setup(t)
	yesterday := today.AddDays(-1)
	b.insert(t, yesterday)
	read := func() schedule.State {
		state, err := schedule.Read(t.Context(), b.db.DB)
		require.NoError(t, err)
		return state
	}
	require.Equal(t, schedule.State{}, read())
	require.NoError(t, schedule.Resume(t.Context(), b.db.DB, audit.Who{Via: "test"}), "it is not paused")
	due := time.Date(2026, time.March, 11, 2, 0, 0, 0, b.db.Installation.Zone)
	require.Equal(t, due, *read().Next(b.planner.Daily, b.planner.Clock.Now()))

	require.NoError(t, schedule.Pause(t.Context(), b.db.DB, audit.Who{Via: "test"}))
	paused := read()
	require.NotNil(t, paused.PausedAt)
	require.NoError(t, schedule.Pause(t.Context(), b.db.DB, audit.Who{Via: "test"}))
	require.Equal(t, paused, read(), "it was paused already")
	require.Nil(t, paused.LastRunAt)
	require.Nil(t, paused.Next(b.planner.Daily, b.planner.Clock.Now()))

	_, err := b.planner.Plan(t.Context())
	require.ErrorIs(t, err, schedule.ErrPaused)
	overdue, err := b.planner.Overdue(t.Context(), schedule.Name, 0)
	require.NoError(t, err)
	require.False(t, overdue)

	// A person requests it nevertheless, twice.
	want := []date.Date{yesterday.AddDays(-2), yesterday.AddDays(-1), yesterday}
	b.planner.Daily.Lookback = 2
	for range 2 {
		dates, err := b.planner.PlanNow(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, dates)
	}
	require.Equal(t, paused.PausedAt, read().PausedAt)
	require.NotNil(t, read().LastRunAt)

	require.NoError(t, schedule.Resume(t.Context(), b.db.DB, audit.Who{Via: "test"}))
	require.Nil(t, read().PausedAt)
	overdue, err = b.planner.Overdue(t.Context(), schedule.Name, 0)
	require.NoError(t, err)
	require.False(t, overdue, "its work for today was already done on request")
	b.setNow(today.AddDays(1), 3)
	overdue, err = b.planner.Overdue(t.Context(), schedule.Name, 0)
	require.NoError(t, err)
	require.True(t, overdue)
}
