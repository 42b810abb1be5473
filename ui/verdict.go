package ui

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/worker"
)

// waitedTooLong is how long a job may be ready without anybody taking it, while workers are there.
const waitedTooLong = 15 * time.Minute

// verdict is the one sentence on top: whether all is well, and if not, what to do.
type verdict struct {
	Tone  string // good, busy, wait or bad
	Text  string
	Label string // of the link; empty where there is none
	Parts []string
	Query url.Values
}

// facts is what a verdict is reached by.
type facts struct {
	now     time.Time
	today   date.Date
	missing gaps // of this year
	states  map[string]ledger.StateCount
	workers []ledger.Worker
	daily   schedule.State
	next    *time.Time // when the daily job is due
	queue   worker.Depth
	faults  []string // of what Daymill installed, and of the source
}

func (f facts) dates(state string) int64 { return f.states[state].Dates }

// judge says the worst there is, and only that: whoever mends it sees the next.
func judge(f facts) verdict {
	for _, look := range []func() (verdict, bool){f.standstill, f.broken, f.behind, f.busy} {
		if v, is := look(); is {
			return v
		}
	}
	return f.well()
}

// standstill is when nothing is rolled up at all.
func (f facts) standstill() (verdict, bool) {
	switch {
	case f.missing.noSource:
		return verdict{Tone: "bad", Text: "Daymill does not know yet where your events are: tell it with `daymill source set`."}, true
	case len(f.faults) > 0:
		return verdict{
			Tone: "bad", Text: "Events may not be noticed: " + f.faults[0] + ".", Label: "See what the doctor finds", Parts: []string{"doctor"},
		}, true
	case len(f.workers) == 0:
		return verdict{
			Tone: "bad",
			Text: "No worker has been seen for two minutes, so nothing is rolled up: start `daymill worker`, or look into its log.",
		}, true
	case len(f.queue.Paused) > 0:
		names := strings.Join(slices.Sorted(maps.Keys(f.queue.Paused)), " and ")
		return verdict{
			Tone: "wait", Text: "The queue " + names + " is paused, so its jobs wait until somebody resumes it.",
			Label: "Go to the schedule", Parts: []string{"schedule"},
		}, true
	default:
		return verdict{}, false
	}
}

// broken is when dates want a person.
func (f facts) broken() (verdict, bool) {
	for _, b := range []struct{ state, tone, text string }{
		{"failed", "bad", "failed after all attempts: see why, and try again once the cause is mended."},
		{"stale", "wait", "does not equal its events any more: ask again.|do not equal their events any more: ask again."},
		{"interrupted", "wait", "was stopped and nothing asks for it any more: ask again.|were stopped and nothing asks for them any more: ask again."},
		{"cancelled", "wait", "was cancelled and stays so until somebody asks for it.|were cancelled and stay so until somebody asks for them."},
	} {
		count := f.states[b.state]
		if count.Dates == 0 {
			continue
		}
		one, many, several := strings.Cut(b.text, "|")
		if count.Dates > 1 && several {
			one = many
		}
		v := verdict{
			Tone: b.tone, Text: plural(count.Dates, "date") + " " + one,
			Label: "See the dates", Parts: []string{"dates"}, Query: url.Values{"state": {b.state}},
		}
		if count.Dates == 1 {
			v.Text, v.Label, v.Parts, v.Query = count.First.String()+" "+one, "See the date", []string{"dates", count.First.String()}, nil
		}
		return v, true
	}
	return verdict{}, false
}

// behind is when something is not done that should have been.
func (f facts) behind() (verdict, bool) {
	missing := f.overdue()
	oldest := f.queue.OldestWaiting
	switch {
	case f.daily.PausedAt != nil:
		return verdict{
			Tone: "wait", Text: "The daily job is paused: new dates are rolled up only where somebody asks for them.",
			Label: "Go to the schedule", Parts: []string{"schedule"},
		}, true
	case oldest != nil && f.now.Sub(*oldest) > waitedTooLong && f.queue.ByState["running"] == 0:
		return verdict{
			Tone: "bad", Text: "Jobs have been waiting for " + duration(f.now.Sub(*oldest)) + " and no worker takes them: look into the workers' log.",
			Label: "See the jobs", Parts: []string{"jobs"}, Query: url.Values{"state": {"available"}},
		}, true
	case f.dates("retrying") > 0:
		return verdict{
			Tone: "wait", Text: plural(f.dates("retrying"), "date") + " did not succeed at once and will be tried again by itself.",
			Label: "See why", Parts: []string{"dates"}, Query: url.Values{"state": {"retrying"}},
		}, true
	case missing > 0:
		text := plural(missing, "date") + " of " + strconv.Itoa(yearOf(f.today)) + " have events and are not rolled up"
		if missing == 1 {
			text = "One date of " + strconv.Itoa(yearOf(f.today)) + " has events and is not rolled up"
		}
		return verdict{
			Tone: "wait", Text: text + ": the daily job will take them, or start a backfill now.",
			Label: "Start a backfill", Parts: []string{"backfills"},
		}, true
	default:
		return verdict{}, false
	}
}

// overdue counts this year's missing dates, but for yesterday as long as the daily job is still to come today.
func (f facts) overdue() int64 {
	n := int64(len(f.missing.dates))
	if f.missing.dates[f.today.AddDays(-1)] && f.next != nil && f.next.Sub(f.now) < 24*time.Hour &&
		date.Of(*f.next, f.next.Location()) == f.today {
		n--
	}
	return n
}

func (f facts) busy() (verdict, bool) {
	running, requested := f.dates("running"), f.dates("requested")
	if running+requested == 0 {
		return verdict{}, false
	}
	return verdict{
		Tone: "busy", Text: fmt.Sprintf("All is well, and work is under way: %s being rolled up, %s to come.",
			plural(running, "date"), number(requested)),
		Label: "See the jobs", Parts: []string{"jobs"},
	}, true
}

func (f facts) well() verdict {
	complete := f.states["complete"]
	switch {
	case complete.Dates > 0:
		return verdict{
			Tone: "good", Text: fmt.Sprintf("All is well: %s complete, the last of them %s.", plural(complete.Dates, "date"), complete.Last),
		}
	case f.missing.known && f.missing.first.IsZero():
		return verdict{Tone: "wait", Text: "There are no events yet: the first date is rolled up once it is over."}
	default:
		return verdict{
			Tone: "wait", Text: "No date was rolled up yet: the daily job takes what has events, or start a backfill now.",
			Label: "Start a backfill", Parts: []string{"backfills"},
		}
	}
}
