package ledger

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// MostAttention is how many dates [Attention] groups.
const MostAttention = 1000

// shrunk is the state in a group of stale dates that have fewer events than their last complete run counted.
const shrunk = "shrunk"

// Trouble is a date that needs a person, or that is being retried.
type Trouble struct {
	Date   date.Date
	Events int64      // that its last complete run counted
	At     *time.Time // when its last run ended; nil if it has not, or is no longer in the ledger
	// Drifted is how many entities differed in the last verification. Lost is how many events the last
	// complete run counted and that verification did not. Both are 0 unless the date is stale.
	Drifted, Lost int64
}

// TroubleGroup is a group of dates with the same problem.
type TroubleGroup struct {
	State string // of the dates; shrunk for stale dates with fewer events than their last complete run counted
	Error string // of one of them; empty if there was none
	Dates []Trouble
}

// Repairable reports whether one request for all dates of the group helps, without erasing metrics.
func (g TroubleGroup) Repairable() bool { return g.State != shrunk && g.State != "protected" }

// Key is the same for groups of the same state and error, apart from the numbers in the error.
func (g TroubleGroup) Key() string { return g.State + " " + digits.ReplaceAllString(g.Error, "0") }

// Attention returns the dates that need a person, in groups of the same state and the same error, most urgent state first and largest group
// first. It reads at most [MostAttention] dates, latest first, and returns whether there are more.
func Attention(ctx context.Context, on postgres.DBTX) (groups []TroubleGroup, more bool, err error) {
	rows, err := db.New(on).LedgerAttention(ctx, MostAttention+1)
	if err != nil {
		return nil, false, fmt.Errorf("list dates that need attention: %w", err)
	}
	if more = len(rows) > MostAttention; more {
		rows = rows[:MostAttention]
	}
	at := make(map[string]int)
	for _, r := range rows {
		one := Trouble{Date: r.MetricDate, Events: r.Events, At: r.FinishedAt, Drifted: r.DriftedEntities}
		state, text := r.State, r.Error
		switch {
		case state == "stale" && r.EventsRecorded > r.EventsCounted:
			state, one.Lost = shrunk, r.EventsRecorded-r.EventsCounted
			fallthrough
		case state == "stale":
			text = "" // The error belongs to an earlier run.
		}
		group := TroubleGroup{State: state, Error: text}
		i, known := at[group.Key()]
		if !known {
			i = len(groups)
			at[group.Key()] = i
			groups = append(groups, group)
		}
		groups[i].Dates = append(groups[i].Dates, one)
	}
	order := []string{"failed", "stale", "interrupted", "cancelled", shrunk, "protected", "retrying"}
	slices.SortStableFunc(groups, func(a, b TroubleGroup) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.State), slices.Index(order, b.State)), cmp.Compare(len(b.Dates), len(a.Dates)))
	})
	return groups, more, nil
}

// digits matches the numbers in errors, such as those of processes and rows, which may be the only difference
// between two errors.
var digits = regexp.MustCompile(`[0-9]+`)
