package verification

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/batch"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/rollup/metric"
	"github.com/daymill/daymill/internal/text"
)

// Result is the result of a verification.
type Result struct {
	// ID is the id of the verification in the ledger; 0 if nothing was recorded.
	ID     int64     `json:"id,omitempty"`
	Date   date.Date `json:"date"`
	Result string    `json:"result"`
	// Reason says why the date was not judged; empty if it was.
	Reason string `json:"reason,omitempty"`
	// RunID is the run whose rows were compared; nil if no run ever completed the date.
	RunID *int64 `json:"run_id,omitempty"`
	// Entities counts entities that have events or a row, and DriftedEntities those whose row differs from what was counted.
	Entities        int64 `json:"entities"`
	DriftedEntities int64 `json:"drifted_entities"`
	EventsCounted   int64 `json:"events_counted"`
	EventsStored    int64 `json:"events_stored"`
	// EventsRecorded is how many events the last complete run counted.
	EventsRecorded int64 `json:"events_recorded"`
	// Drifts lists the first entities that drifted, in key order.
	Drifts []Drift `json:"drifts"`
	// Repair reports whether a rollup was requested.
	Repair bool          `json:"repair_requested"`
	Passes int           `json:"passes"`
	Took   time.Duration `json:"-"`
}

// Erased returns for how many events a rollup of a drifted date would erase the metrics permanently: events that its last complete
// run counted and that no longer exist. If the rows count more events than that, somebody has edited them.
func (r *Result) Erased() int64 { return erased(r.Result, r.EventsRecorded, r.EventsCounted) }

// Edited reports whether somebody has edited the rows of a drifted date: they differ from what its last complete run wrote, and all
// events still exist.
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

// Drift is an entity whose row does not match its events. Stored is nil if the row is missing, and Counted is nil if the entity has
// no events.
type Drift struct {
	Entity  string  `json:"entity"`
	Stored  *Counts `json:"stored"`
	Counted *Counts `json:"counted"`
}

// Counts has the counts of an entity on a date.
type Counts struct {
	Views  int32 `json:"views"`
	Clicks int32 `json:"clicks"`
	Saves  int32 `json:"saves"`
	Skips  int32 `json:"skips"`
	// Other is other_counts as stored, which somebody may have edited.
	Other json.RawMessage `json:"other"`
}

// OtherText returns Other as text for people, with keys in order and uniform spaces and escapes. It returns an empty text if there
// are no other counts.
func (c Counts) OtherText() string {
	decoder := json.NewDecoder(bytes.NewReader(c.Other))
	decoder.UseNumber() // Numbers keep their digits.
	var value any
	if err := decoder.Decode(&value); err != nil {
		return string(c.Other)
	}
	if object, is := value.(map[string]any); value == nil || is && len(object) == 0 {
		return ""
	}
	encoded, err := text.Encode(value)
	if err != nil { // The value was decoded from JSON.
		return string(c.Other)
	}
	return encoded
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
	encoded, err := text.Encode(counts)
	if err != nil { // A map from text to numbers can always be encoded.
		return json.RawMessage("{}")
	}
	return json.RawMessage(encoded)
}

// storedEvents adds up the counts of a row. Values of other_counts that are not numbers count as 0.
func storedEvents(row *db.MetricRangeRow) int64 {
	sum := int64(row.ViewsCount) + int64(row.ClicksCount) + int64(row.SavesCount) + int64(row.SkipsCount)
	for _, n := range metric.Other(row.OtherCounts) {
		sum = metric.Sum(sum, n)
	}
	return sum
}
