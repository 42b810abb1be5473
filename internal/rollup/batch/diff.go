package batch

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/merge"
)

// change is a change of one row of a date: the row is written if row is set, and otherwise deleted.
type change struct {
	id      entity.ID
	row     *merge.Row
	was     *db.MetricRangeRow // the stored row; nil if there is none
	isNew   bool
	through Totals // after this change
}

// Totals adds up what is published of a date.
type Totals struct {
	Events, Entities int64
}

// diff compares counted and stored rows, which both ascend. It returns the necessary changes, and the totals including all
// counted rows.
func diff(counted []merge.Row, stored []db.MetricRangeRow, totals Totals) ([]change, Totals) {
	var changes []change
	text := make([]byte, 0, 256)
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
			if equal(row, was, text) {
				continue
			}
		}
		changes = append(changes, change{id: row.ID, row: row, was: was, isNew: was == nil, through: totals})
	}
	return changes, totals
}

// equal reports whether the stored row has the counted counts. Postgres writes the keys of jsonb in the order of row.Other, so
// equal counts usually have equal texts. If the texts differ, because a name has to be escaped for example, it compares the counts.
func equal(row *merge.Row, stored *db.MetricRangeRow, text []byte) bool {
	if row.Views != stored.ViewsCount || row.Clicks != stored.ClicksCount ||
		row.Saves != stored.SavesCount || row.Skips != stored.SkipsCount {
		return false
	}
	if bytes.Equal(appendOther(text[:0], row.Other), stored.OtherCounts) {
		return true
	}
	var others map[string]int32
	if err := json.Unmarshal(stored.OtherCounts, &others); err != nil {
		return false // Somebody has edited the row: write what was counted.
	}
	for _, other := range row.Other {
		if n, has := others[other.Type]; !has || n != other.Events {
			return false
		}
	}
	return len(others) == len(row.Other)
}

// appendOther appends counts of other event types as JSON, with the same spaces as Postgres.
func appendOther(text []byte, others []merge.Other) []byte {
	text = append(text, '{')
	for i, other := range others {
		if i > 0 {
			text = append(text, ", "...)
		}
		text = appendName(text, other.Type)
		text = append(text, ": "...)
		text = strconv.AppendInt(text, int64(other.Events), 10)
	}
	return append(text, '}')
}

// appendName appends a name quoted.
func appendName(text []byte, name string) []byte {
	for i := range len(name) {
		if c := name[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(name)
			if err != nil {
				panic("daymill: a string is always JSON: " + err.Error())
			}
			return append(text, quoted...)
		}
	}
	text = append(text, '"')
	text = append(text, name...)
	return append(text, '"')
}
