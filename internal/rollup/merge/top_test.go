package merge_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/merge"
)

// TestTop compares a Top with the sorted rows.
func TestTop(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var top merge.Top
		var all []merge.Ranked
		for i, views := range rapid.SliceOfN(rapid.Int32Range(0, 20), 0, 60).Draw(t, "views") {
			id := entity.ID(fmt.Sprintf("%03d", i))
			top.Add(&merge.Row{ID: id, Views: views, Clicks: 1}, int64(views)+1)
			if views > 0 {
				all = append(all, merge.Ranked{ID: id, Count: int64(views)})
			}
			require.Len(t, top.Clicks, min(i+1, merge.MostTop))
		}
		slices.SortStableFunc(all, func(a, b merge.Ranked) int { return cmp.Compare(b.Count, a.Count) })
		require.Equal(t, all[:min(len(all), merge.MostTop)], top.Views)
		require.Empty(t, top.Saves)
		for i, r := range top.Clicks {
			require.Equal(t, entity.ID(fmt.Sprintf("%03d", i)), r.ID, "of equal ones the first stay")
		}
	})
}
