package verification

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/batch"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/rollup/metric"
)

// Result is what a verification has found.
type Result struct {
	// ID is the row of the ledger; 0 where nothing was recorded.
	ID     int64     `json:"id,omitempty"`
	Date   date.Date `json:"date"`
	Result string    `json:"result"`
	// Reason says why nothing was judged; empty where it was.
	Reason string `json:"reason,omitempty"`
	// RunID is the run whose rows were compared; nil where none ever completed the date.
	RunID *int64 `json:"run_id,omitempty"`
	// Entities have events or a row; the row of DriftedEntities is not what was counted.
	Entities        int64 `json:"entities"`
	DriftedEntities int64 `json:"drifted_entities"`
	EventsCounted   int64 `json:"events_counted"`
	EventsStored    int64 `json:"events_stored"`
	// EventsRecorded is what the last complete run has counted.
	EventsRecorded int64 `json:"events_recorded"`
	// Drifts are the first of the entities that drifted, in key order.
	Drifts []Drift `json:"drifts"`
	// Repair reports whether a rollup was requested.
	Repair bool          `json:"repair_requested"`
	Passes int           `json:"passes"`
	Took   time.Duration `json:"-"`
}

// Erased is how many events' metrics a rollup of a date that has drifted would erase for good: those that its last complete
// run has counted and that are gone. Where the rows count more than that, somebody has edited them.
func (r *Result) Erased() int64 { return erased(r.Result, r.EventsRecorded, r.EventsCounted) }

// Edited reports whether the rows of a date that has drifted are not what its last complete run has left, while its events
// are all there.
func (r *Result) Edited() bool {
	return edited(r.Result, r.EventsRecorded, r.EventsCounted, r.EventsStored)
}

func erased(result string, recorded, counted int64) int64 {
	if result != Drifted {
		return 0
	}
	return max(0, recorded-counted)
}

func edited(result string, recorded, counted, stored int64) bool {
	return result == Drifted && counted == recorded && stored != recorded
}

// Drift is an entity whose row is not what its events come to. Stored is nil where the row is missing, Counted where the
// entity has no event.
type Drift struct {
	Entity  string  `json:"entity"`
	Stored  *Counts `json:"stored"`
	Counted *Counts `json:"counted"`
}

// Counts are an entity's, of a date.
type Counts struct {
	Views  int32 `json:"views"`
	Clicks int32 `json:"clicks"`
	Saves  int32 `json:"saves"`
	Skips  int32 `json:"skips"`
	// Other is other_counts as it is stored: whatever somebody has put there by hand.
	Other json.RawMessage `json:"other"`
}

// OtherText is Other as people read it: keys in order, the same spacing and escapes whoever has written it. It is empty
// where there are no other counts.
func (c Counts) OtherText() string {
	decoder := json.NewDecoder(bytes.NewReader(c.Other))
	decoder.UseNumber() // A number stays as it is written.
	var value any
	if err := decoder.Decode(&value); err != nil {
		return string(c.Other)
	}
	if object, is := value.(map[string]any); value == nil || is && len(object) == 0 {
		return ""
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil { // It was JSON a moment ago.
		return string(c.Other)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func newDrift(entityType entity.Type, found batch.Difference) Drift {
	drift := Drift{Entity: entityType.Format(found.ID)}
	if s := found.Stored; s != nil {
		drift.Stored = &Counts{
			Views: s.ViewsCount, Clicks: s.ClicksCount, Saves: s.SavesCount, Skips: s.SkipsCount, Other: s.OtherCounts,
		}
	}
	if c := found.Counted; c != nil {
		drift.Counted = &Counts{Views: c.Views, Clicks: c.Clicks, Saves: c.Saves, Skips: c.Skips, Other: otherOf(c)}
	}
	return drift
}

func otherOf(row *merge.Row) json.RawMessage {
	counts := make(map[string]int32, len(row.Other))
	for _, other := range row.Other {
		counts[other.Type] = other.Events
	}
	text, err := json.Marshal(counts)
	if err != nil { // A map from text to numbers is always JSON.
		return json.RawMessage("{}")
	}
	return text
}

// storedEvents adds the counts of a row up. What is no number in other_counts counts for none.
func storedEvents(row *db.MetricRangeRow) int64 {
	sum := int64(row.ViewsCount) + int64(row.ClicksCount) + int64(row.SavesCount) + int64(row.SkipsCount)
	for _, n := range metric.Other(row.OtherCounts) {
		sum = metric.Sum(sum, n)
	}
	return sum
}
