package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// budget is how many entries one statement reads. wordsShown is how many options each part of the filter has.
const (
	budget     = 10_000
	wordsShown = 50
)

// Filter selects entries; an empty field selects any.
type Filter struct{ Actor, Via, Action string }

// Done is a recorded action.
type Done struct {
	Entry

	ID int64
	At time.Time
}

// Page is a part of the record, newest first. Newer and Older are the ids to continue from; 0 if there is nothing more.
type Page struct {
	Entries      []Done
	Newer, Older int64
	// Unfinished reports that the page is not full after ten thousand entries, and that there are more to search.
	Unfinished bool
}

// List returns at most size entries: those below an id, or above one if before is 0; the newest if both are 0.
func List(ctx context.Context, on postgres.DBTX, filter Filter, before, after int64, size int) (Page, error) {
	if before == 0 && after != 0 {
		return listNewer(ctx, on, filter, after, size)
	}
	page := Page{}
	if before == 0 {
		before = math.MaxInt64
	} else {
		page.Newer = before - 1
	}
	rows, err := db.New(on).AuditListOlder(ctx, db.AuditListOlderParams{
		BeforeID: before, Action: filter.Action, Actor: filter.Actor, Via: filter.Via, Budget: budget, MaxRows: int32(size) + 1, //nolint:gosec // A page.
	})
	if err != nil {
		return Page{}, fmt.Errorf("read the audit: %w", err)
	}
	if len(rows) > size {
		rows = rows[:size]
		page.Older = rows[size-1].ID
	} else {
		page.Older, err = db.New(on).AuditReach(ctx, db.AuditReachParams{
			BeforeID: before, Action: filter.Action, Actor: filter.Actor, Via: filter.Via, Skip: budget - 1,
		})
		if err != nil {
			return Page{}, fmt.Errorf("read the audit: %w", err)
		}
		page.Unfinished = page.Older != 0
	}
	page.Entries = entries(rows)
	return page, nil
}

func listNewer(ctx context.Context, on postgres.DBTX, filter Filter, after int64, size int) (Page, error) {
	page := Page{Older: after + 1}
	rows, err := db.New(on).AuditListNewer(ctx, db.AuditListNewerParams{
		AfterID: after, Action: filter.Action, Actor: filter.Actor, Via: filter.Via, Budget: budget, MaxRows: int32(size) + 1, //nolint:gosec // A page.
	})
	if err != nil {
		return Page{}, fmt.Errorf("read the audit: %w", err)
	}
	if len(rows) > size {
		rows = rows[:size]
		page.Newer = rows[size-1].ID
	} else {
		page.Newer, err = db.New(on).AuditReachNewer(ctx, db.AuditReachNewerParams{
			AfterID: after, Action: filter.Action, Actor: filter.Actor, Via: filter.Via, Skip: budget - 1,
		})
		if err != nil {
			return Page{}, fmt.Errorf("read the audit: %w", err)
		}
		page.Unfinished = page.Newer != 0
	}
	slices.Reverse(rows)
	page.Entries = entries(rows)
	return page, nil
}

func entries(rows []db.DaymillAudit) []Done {
	all := make([]Done, len(rows))
	for i, r := range rows {
		all[i] = Done{ID: r.ID, At: r.At, Entry: Entry{Who: Who{Actor: r.Actor, Via: r.Via}, Action: r.Action, Target: r.Target}}
		if err := json.Unmarshal(r.Detail, &all[i].Detail); err != nil { // Not an object: somebody has inserted it by hand.
			all[i].Detail = map[string]any{"detail": string(r.Detail)}
		}
	}
	return all
}

// Words are the options of the filter: the first fifty of each, in alphabetical order.
type Words struct{ Actors, Vias, Actions []string }

// ListWords returns the words that occur in the record.
func ListWords(ctx context.Context, on postgres.DBTX) (Words, error) {
	rows, err := db.New(on).AuditWords(ctx, wordsShown)
	if err != nil {
		return Words{}, fmt.Errorf("read the words of the audit: %w", err)
	}
	var words Words
	for _, r := range rows {
		switch r.Kind {
		case "actor":
			words.Actors = append(words.Actors, r.Word)
		case "via":
			words.Vias = append(words.Vias, r.Word)
		default:
			words.Actions = append(words.Actions, r.Word)
		}
	}
	return words, nil
}
