package merge_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/daymill/daymill/internal/rollup/merge"
)

// TestSums: sums have every event once, however many types there are, and rows that are counted again replace what they had.
func TestSums(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		row := rapid.Custom(func(t *rapid.T) merge.Row {
			row := merge.Row{Views: rapid.Int32Range(0, 9).Draw(t, "views"), Skips: rapid.Int32Range(0, 9).Draw(t, "skips")}
			for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(1, 90), 0, 70, rapid.ID).Draw(t, "types") {
				row.Other = append(row.Other, merge.Other{Type: strconv.Itoa(n), Events: int32(n)})
			}
			return row
		})
		add := func(rows ...merge.Row) (sums merge.Sums) {
			for i := range rows {
				sums.Add(&rows[i])
			}
			return sums
		}
		same, before, after := row.Draw(t, "same"), row.Draw(t, "before"), row.Draw(t, "after")
		all := add(same, before)
		require.Equal(t, same.Events()+before.Events(), all.Total())
		short := all.Short(merge.MostTypes)
		require.Equal(t, all.Total(), short.Total())
		require.LessOrEqual(t, len(short.Other), merge.MostTypes)
		for name, events := range short.Other {
			require.Equal(t, all.Other[name], events, name)
		}
		replaced, known := short.Replace(add(before), add(after))
		if !known {
			return // A type has left the rest.
		}
		want := add(same, after)
		require.Equal(t, want.Total(), replaced.Total())
		require.Equal(t, want.Views, replaced.Views)
		for name, events := range replaced.Other {
			require.Equal(t, want.Other[name], events, name)
		}
		if all.Rest == 0 && len(all.Other) <= merge.MostTypes {
			require.True(t, known)
		}
	})
	long := merge.Row{Other: []merge.Other{{Type: strings.Repeat("x", 1000), Events: 3}, {Type: "y", Events: 2}}}
	var sums merge.Sums
	sums.Add(&long)
	require.Equal(t, merge.Sums{Other: map[string]int64{"y": 2}, Rest: 3}, sums)
}
