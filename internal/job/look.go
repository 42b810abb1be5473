package job

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// jumpDates is up to how many dates a scan starts at the nearest job of any of them, instead of where the last scan ended.
const jumpDates = 4_000

// looked is the result of one scan.
type looked struct {
	found   []found // in the order of the scan
	spent   bool    // the budget is used up: there may be more beyond reached
	reached int64
}

// add adds a row of a scan.
func (l *looked) add(row db.JobLookOlderRow, budget int32) {
	l.spent, l.reached = row.Looked >= int64(budget), row.Reached
	if row.ID != 0 {
		l.found = append(l.found, found{row.ID, row.State})
	}
}

// lookBudget returns how many jobs a scan reads: only size if every job matches.
func (r Reader) lookBudget(every bool, size int) int32 {
	if every {
		return bound(size, 1)
	}
	return max(r.budget(), bound(size, 1))
}

// lookOlder scans jobs that are not newer than a snapshot and have not changed since.
func (r Reader) lookOlder(ctx context.Context, on postgres.DBTX, filter Filter, from Snapshot, size int) (looked, error) {
	first, last := filter.dates()
	budget := r.lookBudget(filter.indexed() && from.At.Equal(farFuture()), size)
	rows, err := db.New(on).JobLookOlder(ctx, db.JobLookOlderParams{
		States: filter.states(), Kind: filter.Kind, HasDates: filter.hasDates(), FirstDate: first, LastDate: last,
		Typed: filter.Text, ChangedBy: from.At, BeforeID: from.MaxID + 1, Budget: budget, MaxRows: bound(size, 1),
	})
	if err != nil {
		return looked{}, fmt.Errorf("look at jobs: %w", err)
	}
	var all looked
	for _, row := range rows {
		all.add(row, budget)
	}
	return all, nil
}

// nearest moves the start of a scan down to the next job of the filter's dates.
func nearest(ctx context.Context, on postgres.DBTX, filter Filter, from Snapshot) (Snapshot, error) {
	if !filter.hasDates() {
		return from, nil
	}
	first, last := filter.dates()
	id, err := db.New(on).JobNearestOlder(ctx, db.JobNearestOlderParams{
		FirstDate: first, LastDate: last, Most: jumpDates, BeforeID: from.MaxID + 1,
	})
	if err != nil {
		return Snapshot{}, fmt.Errorf("look for jobs of dates: %w", err)
	}
	if id >= 0 {
		from.MaxID = id
	}
	return from, nil
}

// newest returns the beginning of the list.
func newest() Snapshot { return Snapshot{MaxID: math.MaxInt64 - 1, At: farFuture()} }

func (r Reader) lookNewer(ctx context.Context, on postgres.DBTX, filter Filter, after int64, size int) (looked, error) {
	first, last := filter.dates()
	if filter.hasDates() {
		nearest, err := db.New(on).JobNearestNewer(ctx, db.JobNearestNewerParams{
			FirstDate: first, LastDate: last, Most: jumpDates, AfterID: after,
		})
		if err != nil {
			return looked{}, fmt.Errorf("look for jobs of dates: %w", err)
		}
		switch {
		case nearest == 0:
			return looked{}, nil
		case nearest > 0:
			after = nearest - 1
		}
	}
	budget := r.lookBudget(filter.indexed(), size)
	rows, err := db.New(on).JobLookNewer(ctx, db.JobLookNewerParams{
		States: filter.states(), Kind: filter.Kind, HasDates: filter.hasDates(), FirstDate: first, LastDate: last,
		Typed: filter.Text, AfterID: after, Budget: budget, MaxRows: bound(size, 1),
	})
	if err != nil {
		return looked{}, fmt.Errorf("look at jobs: %w", err)
	}
	var all looked
	for _, row := range rows {
		all.add(db.JobLookOlderRow(row), budget)
	}
	return all, nil
}

// look makes a page out of one scan. The list begins at top.
func (r Reader) look(
	ctx context.Context, on postgres.DBTX, filter Filter, top Snapshot, at Cursor, size int,
) (Page, []int64, error) {
	var page Page
	if at.After != 0 {
		rows, err := r.lookNewer(ctx, on, filter, at.After, size+1)
		if err != nil {
			return Page{}, nil, err
		}
		ids := idsOf(rows.found)
		page.Older = Cursor{Before: at.After + 1}
		switch {
		case len(ids) > size:
			ids = ids[:size]
			page.Newer = Cursor{After: ids[size-1]}
		case rows.spent:
			page.Newer, page.Unfinished = Cursor{After: rows.reached}, true
		}
		slices.Reverse(ids)
		return page, ids, nil
	}
	from := top
	if at.Before != 0 {
		page.Newer = Cursor{After: at.Before - 1}
		var err error
		if from, err = nearest(ctx, on, filter, Snapshot{MaxID: at.Before - 1, At: top.At}); err != nil {
			return Page{}, nil, err
		}
	}
	rows, err := r.lookOlder(ctx, on, filter, from, size+1)
	if err != nil {
		return Page{}, nil, err
	}
	ids := idsOf(rows.found)
	switch {
	case len(ids) > size:
		ids = ids[:size]
		page.Older = Cursor{Before: ids[size-1]}
	case rows.spent && rows.reached > 1:
		page.Older, page.Unfinished = Cursor{Before: rows.reached}, true
	}
	return page, ids, nil
}

func idsOf(all []found) []int64 {
	ids := make([]int64, len(all))
	for i, f := range all {
		ids[i] = f.id
	}
	return ids
}

// IDs returns the jobs that match a filter at a snapshot, newest first and at most limit of them, and whether there are more.
// Unlike List it repeats scans until it has enough or has seen every job.
func (r Reader) IDs(
	ctx context.Context, on postgres.DBTX, filter Filter, at Snapshot, limit int,
) (ids []int64, more bool, err error) {
	all, narrow, err := r.few(ctx, on, filter, at)
	if err != nil {
		return nil, false, err
	}
	if narrow {
		for _, f := range all {
			if f.id <= at.MaxID && (filter.State == "" || f.state == filter.State) {
				ids = append(ids, f.id)
			}
		}
		return ids[:min(limit, len(ids))], len(ids) > limit, nil
	}
	for {
		if at, err = nearest(ctx, on, filter, at); err != nil {
			return nil, false, err
		}
		rows, err := r.lookOlder(ctx, on, filter, at, limit+1-len(ids))
		if err != nil {
			return nil, false, err
		}
		ids = append(ids, idsOf(rows.found)...)
		if len(ids) > limit {
			return ids[:limit], true, nil
		}
		if !rows.spent || rows.reached <= 1 {
			return ids, false, nil
		}
		at.MaxID = rows.reached - 1
	}
}
