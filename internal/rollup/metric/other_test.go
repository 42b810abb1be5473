package metric_test

import (
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/metric"
)

// Counts that an older system has written are read in the same way in Go and in SQL.
func TestOddCounts(t *testing.T) {
	t.Parallel()
	b := setup(t, entity.Bigint)
	for text, want := range map[string]int64{
		"3": 3, "3.5": 3, "-3.5": -3, `"7"`: 0, "null": 0, "[1]": 0, "9e18": 9e18, "1e19": math.MaxInt64, "-1e19": math.MinInt64,
		"1e400": math.MaxInt64, "0.1": 0, "9223372036854775807": math.MaxInt64,
	} {
		require.Equal(t, map[string]int64{"odd": want}, metric.Other([]byte(`{"odd": `+text+`}`)), text)
		var sql int64
		require.NoError(t, b.QueryRow(t.Context(), "SELECT analytics.other_count($1::text::jsonb)", text).Scan(&sql))
		require.Equal(t, want, sql, text)
	}
	require.Empty(t, metric.Other([]byte(`[1]`)))
	require.Equal(t, map[string]int64{"a": 0, "b": 2}, metric.Other([]byte(`{"a": "7", "b": 2}`)))

	b.row(t, "2026-03-01", "1", 5, `{"share": 3.5, "text": "7", "big": 9e18}`)
	b.row(t, "2026-03-02", "1", 5, `{"share": 4, "big": 9e18}`)
	days, err := metric.Days(t.Context(), b.DB.DB, "1", march, 10)
	require.NoError(t, err)
	var sum metric.Counts
	for _, day := range days {
		sum.Add(day.Counts)
	}
	require.Equal(t, map[string]int64{"share": 7, "text": 0, "big": math.MaxInt64}, sum.Other)
	require.EqualValues(t, math.MaxInt64, sum.Total(), "not a negative number")
	for name, want := range map[string]int64{"big": math.MaxInt64, "share": 7} {
		top, err := metric.FindTop(t.Context(), b.DB.DB, entity.Bigint, metric.Metric{EventType: name}, march, 10)
		require.NoError(t, err)
		require.Equal(t, []metric.Ranked{{ID: "1", Count: want}}, top.Entities, strconv.FormatInt(want, 10))
	}
	top, err := metric.FindTop(t.Context(), b.DB.DB, entity.Bigint, metric.Metric{EventType: "text"}, march, 10)
	require.NoError(t, err)
	require.Empty(t, top.Entities)
	b.row(t, "2026-03-01", "2", 5, `["share"]`)
	_, err = metric.FindTop(t.Context(), b.DB.DB, entity.Bigint, metric.Metric{EventType: "share"}, march, 10)
	require.NoError(t, err)
}
