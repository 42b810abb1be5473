package batch

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/merge"
)

func TestAscend(t *testing.T) {
	t.Parallel()
	rows := func(ids ...entity.ID) (all []db.MetricRangeRow) {
		for _, id := range ids {
			all = append(all, db.MetricRangeRow{EntityID: id})
		}
		return all
	}
	b := entity.ID("b")
	require.NoError(t, ascend(nil, rows("a", "b", "c")))
	require.NoError(t, ascend(&b, rows("c")))
	require.ErrorIs(t, ascend(&b, rows("b")), ErrOrder)
	require.ErrorIs(t, ascend(&b, rows("a")), ErrOrder)
	require.ErrorIs(t, ascend(nil, rows("a", "c", "b")), ErrOrder)
	require.ErrorIs(t, ascend(nil, rows("a", "a")), ErrOrder)
}

// TestDiff: stored rows are right only if all counts are equal and there are no others.
func TestEqual(t *testing.T) {
	t.Parallel()
	counted := &merge.Row{ID: "a", Views: 1, Clicks: 2, Saves: 3, Skips: 4, Other: []merge.Other{{Type: "é", Events: 5}, {Type: "share", Events: 6}}}
	stored := func(change func(row *db.MetricRangeRow)) *db.MetricRangeRow {
		row := &db.MetricRangeRow{
			EntityID: "a", ViewsCount: 1, ClicksCount: 2, SavesCount: 3, SkipsCount: 4, OtherCounts: []byte(`{"é": 5, "share": 6}`),
		}
		change(row)
		return row
	}
	require.True(t, equal(counted, stored(func(*db.MetricRangeRow) {}), nil))
	for name, change := range map[string]func(row *db.MetricRangeRow){
		"Clicks":       func(row *db.MetricRangeRow) { row.ClicksCount++ },
		"NoOther":      func(row *db.MetricRangeRow) { row.OtherCounts = []byte(`{}`) },
		"Nonsense":     func(row *db.MetricRangeRow) { row.OtherCounts = []byte(`[]`) },
		"OneMore":      func(row *db.MetricRangeRow) { row.OtherCounts = []byte(`{"é": 5, "share": 6, "x": 0}`) },
		"OtherChanged": func(row *db.MetricRangeRow) { row.OtherCounts = []byte(`{"é": 5, "share": 7}`) },
		"OtherRenamed": func(row *db.MetricRangeRow) { row.OtherCounts = []byte(`{"é": 5, "shard": 6}`) },
		"Saves":        func(row *db.MetricRangeRow) { row.SavesCount++ },
		"Skips":        func(row *db.MetricRangeRow) { row.SkipsCount++ },
		"Views":        func(row *db.MetricRangeRow) { row.ViewsCount++ },
	} {
		require.False(t, equal(counted, stored(change), nil), name)
	}
}
