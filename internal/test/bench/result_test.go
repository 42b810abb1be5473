package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSpread(t *testing.T) {
	t.Parallel()
	require.Equal(t, Spread{Median: 3, Low: 1, High: 9}, spread([]float64{9, 1, 3}))
	require.Equal(t, Spread{Median: 2, Low: 1, High: 3}, spread([]float64{3, 1}))
	require.Equal(t, Spread{}, spread(nil))
}

// TestRatio: ratios are taken within rounds, not of medians.
func TestRatio(t *testing.T) {
	t.Parallel()
	all := samples{"a": {{wall: 1}, {wall: 10}, {wall: 9}}, "b": {{wall: 2}, {wall: 5}, {wall: 3}}}
	require.Equal(t, Spread{Median: 2, Low: 0.5, High: 3}, all.ratio(wall, "a", "b"))
	require.Equal(t, Spread{}, all.ratio(wal, "a", "b"))
}

func TestCompare(t *testing.T) {
	t.Parallel()
	of := func(ratios ...Ratio) Results { return Results{Scenarios: []Result{{Ratios: ratios}}} }
	value := func(v float64) Spread { return Spread{Median: v, Low: v, High: v} }
	kept := update(nil, of(
		Ratio{ID: "a.time", Value: value(1)}, Ratio{ID: "b.speed", Value: value(0.8), AtLeast: true},
		Ratio{ID: "c.ms", Value: value(100), Unit: "ms"}))
	require.Len(t, kept, 2, "a figure with a unit depends on the machine")

	require.Empty(t, compare(kept, of(
		Ratio{ID: "a.time", Value: value(1.2)}, Ratio{ID: "b.speed", Value: value(0.7)}, Ratio{ID: "new", Value: value(9)})))
	require.Len(t, compare(kept, of(Ratio{ID: "a.time", Value: value(1.3)}, Ratio{ID: "b.speed", Value: value(0.5)})), 2)
	require.Empty(t, compare(kept, of(Ratio{ID: "a.time", Value: value(0.1)}, Ratio{ID: "b.speed", Value: value(2)})))
}

func TestMet(t *testing.T) {
	t.Parallel()
	r := Ratio{Value: Spread{Median: 1, Low: 0.5, High: 2}, Target: 1.5}
	require.True(t, r.Met())
	r.Worst = true
	require.False(t, r.Met())
	r.AtLeast = true
	require.False(t, r.Met())
	r.Worst, r.Target = false, 0.9
	require.True(t, r.Met())
}

// TestStatement: the contender's statement has the same condition and columns as Daymill's own counts.
func TestStatement(t *testing.T) {
	t.Parallel()
	sql := statementSQL(largeDate(), within(largeDate()))
	require.Contains(t, sql, "entity_id, DATE '2025-03-03',")
	require.NotContains(t, sql, "AT TIME ZONE")
	require.Contains(t, sql, "GROUP BY 1, 2\n) AS t\nGROUP BY 1\nON CONFLICT")
}
