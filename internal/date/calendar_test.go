package date_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
)

func TestCalendar(t *testing.T) {
	t.Parallel()

	at := func(day, hour int) time.Time { return time.Date(2011, time.December, day, hour, 0, 0, 0, time.UTC) }
	first := date.MustParse("2011-12-29")
	// Pacific/Apia, which skipped the 30th.
	apia, err := date.NewCalendar(first, []time.Time{at(29, 10), at(30, 10), at(30, 10), at(31, 10)})
	require.NoError(t, err)

	for _, test := range []struct {
		instant time.Time
		want    date.Date
	}{
		{at(29, 10).Add(-time.Microsecond), date.Date{}},
		{at(29, 10), first},
		{at(30, 10).Add(-time.Microsecond), first},
		{at(30, 10), first.AddDays(2)},
		{at(31, 10).Add(-time.Microsecond), first.AddDays(2)},
		{at(31, 10), date.Date{}},
	} {
		got, from, to := apia.At(test.instant.UnixMicro())
		require.Equal(t, test.want, got, test.instant)
		if !got.IsZero() {
			require.True(t, from <= test.instant.UnixMicro() && test.instant.UnixMicro() < to, test.instant)
		}
	}

	none, _, _ := date.Calendar{}.At(0)
	require.True(t, none.IsZero())
	for _, starts := range [][]time.Time{nil, {at(1, 0)}, {at(2, 0), at(1, 0)}} {
		_, err := date.NewCalendar(first, starts)
		require.Error(t, err)
	}
	_, err = date.NewCalendar(date.Date{}, []time.Time{at(1, 0), at(2, 0)})
	require.Error(t, err)
}
