package batch

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/merge"
)

// change is what has to be done to one row of a date: written where row is set, else deleted.
type change struct {
	id      entity.ID
	row     *merge.Row
	was     *db.MetricRangeRow // what is stored; nil where nothing is
	isNew   bool
	through Totals // once this change is in
}

// Totals is what is published of a date.
type Totals struct {
	Events, Entities int64
}

// diff walks counted rows and stored rows, both ascending, side by side and returns what has to change, and the totals
// with all of the counted rows in.
func diff(counted []merge.Row, stored []db.MetricRangeRow, totals Totals) ([]change, Totals) {
	var changes []change
	for len(counted) > 0 || len(stored) > 0 {
		if len(counted) == 0 || len(stored) > 0 && stored[0].EntityID < counted[0].ID {
			changes = append(changes, change{id: stored[0].EntityID, was: &stored[0], through: totals})
			stored = stored[1:]
			continue
		}
		row := &counted[0]
		counted = counted[1:]
		totals.Events += row.Events()
		totals.Entities++
		var was *db.MetricRangeRow
		if len(stored) > 0 && stored[0].EntityID == row.ID {
			was, stored = &stored[0], stored[1:]
			if equal(row, was) {
				continue
			}
		}
		changes = append(changes, change{id: row.ID, row: row, was: was, isNew: was == nil, through: totals})
	}
	return changes, totals
}

// equal compares what was counted with what is stored.
func equal(row *merge.Row, stored *db.MetricRangeRow) bool {
	if row.Views != stored.ViewsCount || row.Clicks != stored.ClicksCount ||
		row.Saves != stored.SavesCount || row.Skips != stored.SkipsCount {
		return false
	}
	if string(stored.OtherCounts) == "{}" {
		return len(row.Other) == 0
	}
	var other map[string]int32
	if err := json.Unmarshal(stored.OtherCounts, &other); err != nil {
		return false // Whatever somebody put there by hand is not what was counted: write it anew.
	}
	return maps.Equal(row.Other, other)
}

// otherJSON renders the counts of other event types.
func otherJSON(row *merge.Row) (string, error) {
	if len(row.Other) == 0 {
		return "{}", nil
	}
	text, err := json.Marshal(row.Other)
	if err != nil {
		return "", fmt.Errorf("render other counts: %w", err)
	}
	return string(text), nil
}
