package verification

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Results returns the results that the ledger records, for a filter.
func Results() []string { return []string{Exact, Drifted, Changed, Protected} }

// Filter says which verifications to list; zero fields mean any.
type Filter struct {
	Date   date.Date
	Result string // one of Results
}

// Done is a recorded verification.
type Done struct {
	ID     int64     `json:"id"`
	Date   date.Date `json:"date"`
	Result string    `json:"result"`
	// RunID is the run whose rows were compared; nil if no run ever completed the date.
	RunID           *int64 `json:"run_id"`
	Entities        int64  `json:"entities"`
	DriftedEntities int64  `json:"drifted_entities"`
	EventsCounted   int64  `json:"events_counted"`
	EventsStored    int64  `json:"events_stored"`
	// EventsRecorded is how many events the last complete run before the verification counted.
	EventsRecorded  int64     `json:"events_recorded"`
	RepairRequested bool      `json:"repair_requested"`
	RequestedBy     string    `json:"requested_by"`
	RequestedVia    string    `json:"requested_via"`
	StartedAt       time.Time `json:"started_at"`
	FinishedAt      time.Time `json:"finished_at"`
	// Repairable reports that this verification made the date stale, and nobody has requested the date since.
	Repairable bool `json:"repairable"`
}

// Erased is like [Result.Erased].
func (d *Done) Erased() int64 { return erased(d.Result, d.EventsRecorded, d.EventsCounted) }

// Edited is like [Result.Edited].
func (d *Done) Edited() bool {
	return edited(d.Result, d.EventsRecorded, d.EventsCounted, d.EventsStored)
}

// Page is a part of the list, newest first. Newer and Older are the ids for the next pages; 0 if there is none.
type Page struct {
	Done         []Done
	Newer, Older int64
}

// List returns at most size verifications: those with an id below before, or above after if before is 0, or the newest if both are 0.
func List(ctx context.Context, on postgres.DBTX, filter Filter, before, after int64, size int) (Page, error) {
	var day *date.Date
	if !filter.Date.IsZero() {
		day = &filter.Date
	}
	page, queries, most := Page{}, db.New(on), int32(size)+1 //nolint:gosec // A page.
	if before == 0 && after != 0 {
		rows, err := queries.VerificationListNewer(ctx, db.VerificationListNewerParams{
			AfterID: after, MetricDate: day, Result: filter.Result, MaxRows: most,
		})
		if err != nil {
			return Page{}, fmt.Errorf("list verifications: %w", err)
		}
		page.Older = after + 1
		if len(rows) > size {
			rows = rows[:size]
			page.Newer = rows[size-1].ID
		}
		slices.Reverse(rows)
		for i := range rows {
			page.Done = append(page.Done, newDone(db.VerificationListOlderRow(rows[i])))
		}
		return page, nil
	}
	if before == 0 {
		before = math.MaxInt64
	} else {
		page.Newer = before - 1
	}
	rows, err := queries.VerificationListOlder(ctx, db.VerificationListOlderParams{
		BeforeID: before, MetricDate: day, Result: filter.Result, MaxRows: most,
	})
	if err != nil {
		return Page{}, fmt.Errorf("list verifications: %w", err)
	}
	if len(rows) > size {
		rows = rows[:size]
		page.Older = rows[size-1].ID
	}
	for i := range rows {
		page.Done = append(page.Done, newDone(rows[i]))
	}
	return page, nil
}

func newDone(r db.VerificationListOlderRow) Done {
	return Done{
		ID: r.ID, Date: r.MetricDate, Result: r.Result, RunID: r.RunID, Entities: r.Entities, DriftedEntities: r.DriftedEntities,
		EventsCounted: r.EventsCounted, EventsStored: r.EventsStored, EventsRecorded: r.EventsRecorded, RepairRequested: r.Repair, RequestedBy: r.RequestedBy,
		RequestedVia: r.RequestedVia, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, Repairable: r.Repairable,
	}
}

// Drifts returns the entities that a verification has recorded: the first that drifted, in key order.
func Drifts(ctx context.Context, on postgres.DBTX, id int64) ([]Drift, error) {
	text, err := db.New(on).VerificationDrifts(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the entities that drifted: %w", err)
	}
	var drifts []Drift
	if err := json.Unmarshal(text, &drifts); err != nil {
		return nil, fmt.Errorf("read the entities that drifted: %w", err)
	}
	return drifts, nil
}

// Job is an unfinished job that verifies dates.
type Job struct {
	ID    int64
	State string
	// First and Last are the range to verify, or Sample is the number of dates; all are zero for the daily job.
	First, Last date.Date
	Sample      int
}

// Jobs returns unfinished jobs that verify dates, oldest first.
func Jobs(ctx context.Context, on postgres.DBTX, most int) ([]Job, error) {
	rows, err := db.New(on).VerificationJobs(ctx, int32(most)) //nolint:gosec // A page.
	if err != nil {
		return nil, fmt.Errorf("look for jobs that verify: %w", err)
	}
	all := make([]Job, len(rows))
	for i, r := range rows {
		all[i] = Job{ID: r.ID, State: r.State}
		var args struct {
			From   date.Date `json:"from"`
			To     date.Date `json:"to"`
			Sample int       `json:"sample"`
		}
		if json.Unmarshal([]byte(r.Args), &args) == nil { // If the arguments are invalid, show the job without them.
			all[i].First, all[i].Last, all[i].Sample = args.From, args.To, args.Sample
		}
	}
	return all, nil
}
