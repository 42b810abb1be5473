package worker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/rollup/run"
)

func TestGroups(t *testing.T) {
	t.Parallel()
	of := func(n int, events int64) (dates []db.ReconcileDatesRow, known map[date.Date]int64) {
		known = map[date.Date]int64{}
		for i := range n {
			d := date.MustParse("2026-03-01").AddDays(-i)
			dates, known[d] = append(dates, db.ReconcileDatesRow{MetricDate: d, Priority: int16(1 + i*3/n)}), events
		}
		return dates, known
	}
	for _, test := range []struct {
		dates, jobs, largest int
		events               int64
	}{{0, 0, 0, 10}, {1, 1, 1, 10}, {4, 4, 1, 10}, {5, 1, 5, 10}, {40, 4, 10, 10}, {41, 4, 11, 10}, {500, 10, 50, 10}, {500, 10, 50, -1}, {100, 20, 5, 1_000}} {
		dates, known := of(test.dates, test.events)
		jobs, seen, largest := groups(dates, known), map[date.Date]bool{}, 0
		require.Len(t, jobs, test.jobs, test)
		last := 0
		for _, job := range jobs {
			require.GreaterOrEqual(t, job.priority, last)
			last = job.priority
			largest = max(largest, 1+len(job.along))
			metadata, err := job.metadata()
			require.NoError(t, err)
			require.Equal(t, job.along, alongOf(metadata))
			for _, d := range append([]date.Date{job.date}, job.along...) {
				require.False(t, seen[d])
				seen[d] = true
			}
		}
		require.Len(t, seen, test.dates)
		require.Equal(t, test.largest, largest, test)
		require.LessOrEqual(t, largest, run.MostGroup)
	}
}

func TestAlongOf(t *testing.T) {
	t.Parallel()
	for metadata, want := range map[string]int{
		`{}`: 0, ``: 0, `{"along": 7}`: 0, `{"along": ""}`: 0, `{"along": "2026-01-01,x"}`: 0, `{"along": "2026-01-01,2026-01-02", "other": 1}`: 2,
	} {
		require.Len(t, alongOf([]byte(metadata)), want, metadata)
	}
}
