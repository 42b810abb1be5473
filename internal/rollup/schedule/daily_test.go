package schedule_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/schedule"
)

// zones have clocks that change in unusual ways: at midnight, by half an hour or two hours, or by a whole day.
var zones = []string{
	"Africa/Cairo", "America/Asuncion", "America/Havana", "America/Sao_Paulo", "America/St_Johns", "Antarctica/Troll",
	"Asia/Beirut", "Asia/Kathmandu", "Asia/Tehran", "Atlantic/Azores", "Australia/Lord_Howe", "Europe/London",
	"Pacific/Apia", "Pacific/Kwajalein", "UTC",
}

// hours are those that clocks skip or show twice, and an ordinary one.
var hours = []int{0, 1, 2, 3, 23}

// genInstant draws an instant that is within two days of a change of its zone's clock, if there are any.
func genInstant(t *rapid.T) time.Time {
	zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
	require.NoError(t, err)
	from := time.Date(1990, time.January, 1, 0, 0, 0, 0, time.UTC).Unix()
	to := time.Date(2040, time.January, 1, 0, 0, 0, 0, time.UTC).Unix()
	instant := time.Unix(rapid.Int64Range(from, to).Draw(t, "instant"), 0).In(zone)
	if _, change := instant.ZoneBounds(); !change.IsZero() {
		instant = change.Add(time.Duration(rapid.IntRange(-48*60, 48*60).Draw(t, "minutes")) * time.Minute)
	}
	return instant
}

// dues finds, by looking at the clock every minute, when a job may be due on the dates around an instant: when the clock
// shows the hour, or if it is skipped, as soon as the clock shows a later one. If a clock goes back there may be
// two such instants on a date.
func dues(d schedule.Daily, t time.Time) map[date.Date][]time.Time {
	later, due := make(map[date.Date]time.Time), make(map[date.Date][]time.Time)
	first := date.Of(t.Add(-80*time.Hour), d.Zone)
	for at := t.Add(-80 * time.Hour).Truncate(time.Minute); at.Before(t.Add(80 * time.Hour)); at = at.Add(time.Minute) {
		day, local := date.Of(at, d.Zone), at.In(d.Zone)
		if day == first {
			continue // Its beginning was not seen.
		}
		if local.Hour() == d.Hour && local.Minute() == 0 {
			due[day] = append(due[day], at)
		}
		if _, known := later[day]; !known && local.Hour() >= d.Hour {
			later[day] = at
		}
	}
	for day, at := range later {
		if due[day] == nil {
			due[day] = []time.Time{at}
		}
	}
	return due
}

func TestDaily(t *testing.T) {
	t.Parallel()

	// Going from one due instant to the next visits all that Last finds.
	t.Run("NoneSkipped", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			instant := genInstant(t)
			for _, hour := range hours {
				daily := schedule.Daily{Zone: instant.Location(), Hour: hour}
				last, next := daily.Last(instant), daily.Next(instant)
				require.False(t, last.After(instant))
				require.True(t, next.After(instant))
				require.Equal(t, next.UTC(), daily.Next(last).UTC())
				require.Equal(t, last.UTC(), daily.Last(last).UTC())
				require.Equal(t, next.UTC(), daily.Last(next).UTC())
				require.Equal(t, last.UTC(), daily.Last(next.Add(-1)).UTC())
			}
		})
	})

	t.Run("OncePerDate", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			instant := genInstant(t)
			for _, hour := range hours {
				daily := schedule.Daily{Zone: instant.Location(), Hour: hour}
				for day, candidates := range dues(daily, instant) {
					count := 0
					for _, at := range candidates {
						if daily.Last(at).Equal(at) {
							count++
						}
					}
					require.Equal(t, 1, count, "%s is due at one of %s", day, candidates)
					next := daily.Next(candidates[0].Add(-1))
					require.Contains(t, times(candidates), next.UTC(), "nothing else is due on %s", day)
				}
			}
		})
	})
}

func times(all []time.Time) []time.Time {
	utc := make([]time.Time, len(all))
	for i := range all {
		utc[i] = all[i].UTC()
	}
	return utc
}
