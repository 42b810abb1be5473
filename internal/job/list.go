package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Defaults of Reader.
const (
	// Narrow is how many jobs are counted, and read, at most to answer one query.
	Narrow = 10_000
	// Budget is how many jobs a scan reads if neither the dates nor the words are narrow.
	Budget = 10_000
)

// Reader reads the history. The zero value has the defaults.
type Reader struct {
	Narrow int // Narrow if 0
	Budget int // Budget if 0
}

func (r Reader) narrow() int32 { return bound(r.Narrow, Narrow) }
func (r Reader) budget() int32 { return bound(r.Budget, Budget) }

func bound(n, byDefault int) int32 {
	if n <= 0 || n > math.MaxInt32-1 {
		n = byDefault
	}
	return int32(n) //nolint:gosec // Checked.
}

// Cursor is a position in the list, which is ordered by id, newest first. The zero value is its beginning.
type Cursor struct {
	Before int64 // the newest jobs below this id; 0 for none
	After  int64 // the oldest jobs above this id; 0 for none
}

// Count is how many jobs are in a state; at least that many if More is set.
type Count struct {
	Jobs int64
	More bool
}

// Page is a page of the list.
type Page struct {
	Jobs []Job // newest first
	// Newer and Older are the cursors of the neighbouring pages; zero if there is none.
	Newer, Older Cursor
	// Unfinished reports that the scan reached its budget before the page was full: Older (or Newer) continues the scan.
	Unfinished bool
}

// List returns at most size jobs.
func (r Reader) List(ctx context.Context, on postgres.DBTX, filter Filter, at Cursor, size int) (Page, error) {
	page, _, err := r.list(ctx, on, filter, at, size, false)
	return page, err
}

// ListCounted is List, and also counts by state the jobs that match the rest of the filter. Counts are exact up to Narrow.
func (r Reader) ListCounted(
	ctx context.Context, on postgres.DBTX, filter Filter, at Cursor, size int,
) (Page, map[string]Count, error) {
	return r.list(ctx, on, filter, at, size, true)
}

func (r Reader) list(
	ctx context.Context, on postgres.DBTX, filter Filter, at Cursor, size int, counted bool,
) (Page, map[string]Count, error) {
	found, narrow, err := r.few(ctx, on, filter, Snapshot{})
	if err != nil {
		return Page{}, nil, err
	}
	var counts map[string]Count
	var page Page
	var ids []int64
	if narrow {
		if counted {
			counts = countOf(found)
		}
		page, ids = cut(found, filter.State, at, size)
	} else {
		top, err := nearest(ctx, on, filter, newest())
		if err != nil {
			return Page{}, nil, err
		}
		if counted {
			if counts, err = r.count(ctx, on, filter, top); err != nil {
				return Page{}, nil, err
			}
		}
		if page, ids, err = r.look(ctx, on, filter, top, at, size); err != nil {
			return Page{}, nil, err
		}
	}
	page.Jobs, err = list(ctx, on, ids)
	return page, counts, err
}

// found is a job that matches a filter, apart from its state.
type found struct {
	id    int64
	state string
}

// few returns the jobs in any state that match a filter, newest first, if its dates or its words select few jobs. Otherwise
// it returns false.
func (r Reader) few(ctx context.Context, on postgres.DBTX, filter Filter, since Snapshot) ([]found, bool, error) {
	if since.At.IsZero() {
		since.At = farFuture()
	}
	queries := db.New(on)
	first, last := filter.dates()
	var all []found
	if filter.hasDates() {
		dated, err := queries.JobCountDates(ctx, db.JobCountDatesParams{FirstDate: first, LastDate: last, Most: r.narrow() + 1})
		if err != nil {
			return nil, false, fmt.Errorf("count the jobs of dates: %w", err)
		}
		if dated <= int64(r.narrow()) {
			rows, err := queries.JobByDates(ctx, db.JobByDatesParams{
				FirstDate: first, LastDate: last, Most: r.narrow(), Kind: filter.Kind, Typed: filter.Text, ChangedBy: since.At,
			})
			if err != nil {
				return nil, false, fmt.Errorf("read the jobs of dates: %w", err)
			}
			for _, row := range rows {
				all = append(all, found{row.ID, row.State})
			}
			return sorted(all), true, nil
		}
	}
	if filter.Text == "" {
		return nil, false, nil
	}
	if rare, err := r.areRare(ctx, on, filter.Text); err != nil || !rare {
		return nil, false, err
	}
	rows, err := queries.JobByWords(ctx, db.JobByWordsParams{
		Kind: filter.Kind, HasDates: filter.hasDates(), FirstDate: first, LastDate: last, ChangedBy: since.At,
		Typed: filter.Text, Most: r.narrow() + 1,
	})
	if err != nil {
		return nil, false, fmt.Errorf("read the jobs with words: %w", err)
	}
	if len(rows) > int(r.narrow()) {
		return nil, false, nil // The planner was wrong.
	}
	for _, row := range rows {
		if row.Matches {
			all = append(all, found{row.ID, row.State})
		}
	}
	return sorted(all), true, nil
}

func sorted(all []found) []found {
	slices.SortFunc(all, func(a, b found) int { return int(b.id - a.id) })
	return all
}

// rare is slightly more than the share of jobs in which the planner expects a word that it has no statistics of.
const rare = 0.0051

// areRare reports whether words are worth looking up in their index, which lists every job that has them. It asks the
// planner, and only about whole words that jobs must have.
func (r Reader) areRare(ctx context.Context, on postgres.DBTX, text string) (bool, error) {
	needed, err := db.New(on).JobWordsNeeded(ctx, text)
	if err != nil {
		return false, fmt.Errorf("read words: %w", err)
	}
	if needed == "T" { // querytree's word for none.
		return false, nil
	}
	var explained []byte
	err = on.QueryRow(ctx, `EXPLAIN (FORMAT JSON)
		SELECT FROM daymill.jobs AS j WHERE j.words @@ $1::text::tsquery
		UNION ALL SELECT FROM daymill.jobs`, needed).Scan(&explained)
	if err != nil {
		return false, fmt.Errorf("estimate how many jobs have words: %w", err)
	}
	type plan struct {
		Rows  float64 `json:"Plan Rows"` //nolint:tagliatelle // Postgres's name.
		Plans []plan  `json:"Plans"`     //nolint:tagliatelle // Postgres's name.
	}
	var all []struct {
		Plan plan `json:"Plan"` //nolint:tagliatelle // Postgres's name.
	}
	if err := json.Unmarshal(explained, &all); err != nil {
		return false, fmt.Errorf("read an estimate: %w", err)
	}
	if len(all) != 1 || len(all[0].Plan.Plans) != 2 {
		return false, errors.New("read an estimate: the plan does not have the two parts that were asked for")
	}
	these, every := all[0].Plan.Plans[0].Rows, all[0].Plan.Plans[1].Rows
	return these <= max(float64(r.narrow()), rare*every), nil
}

func countOf(all []found) map[string]Count {
	counts := make(map[string]Count)
	for _, f := range all {
		counts[f.state] = Count{Jobs: counts[f.state].Jobs + 1}
	}
	return counts
}

// count counts jobs by state if few has found too many. The list begins at top.
func (r Reader) count(ctx context.Context, on postgres.DBTX, filter Filter, top Snapshot) (map[string]Count, error) {
	counts := make(map[string]Count)
	if filter.indexed() {
		rows, err := db.New(on).JobCount(ctx, db.JobCountParams{Kind: filter.Kind, Most: r.narrow() + 1, States: States()})
		if err != nil {
			return nil, fmt.Errorf("count jobs: %w", err)
		}
		for _, row := range rows {
			more := row.Jobs > int64(r.narrow())
			counts[row.State] = Count{Jobs: min(row.Jobs, int64(r.narrow())), More: more}
		}
		return counts, nil
	}
	filter.State = ""
	rows, err := r.lookOlder(ctx, on, filter, top, int(r.budget()))
	if err != nil {
		return nil, err
	}
	counts = countOf(rows.found)
	if !rows.spent {
		return counts, nil
	}
	for _, state := range States() { // There may be more, also of states that were not seen.
		counts[state] = Count{Jobs: counts[state].Jobs, More: true}
	}
	return counts, nil
}

// cut takes a page out of few's matches, which are in any state.
func cut(all []found, state string, at Cursor, size int) (Page, []int64) {
	var ids []int64
	for _, f := range all {
		if state == "" || f.state == state {
			ids = append(ids, f.id)
		}
	}
	from, to := 0, min(size, len(ids))
	switch {
	case at.After != 0: // ids[:n] are above it
		to = len(ids) - countBelow(ids, at.After+1)
		from = max(0, to-size)
	case at.Before != 0:
		from = len(ids) - countBelow(ids, at.Before)
		to = min(len(ids), from+size)
	}
	var page Page
	if from > 0 {
		page.Newer = Cursor{After: ids[from-1] - 1}
	}
	if to < len(ids) {
		page.Older = Cursor{Before: ids[to] + 1}
	}
	return page, ids[from:to]
}

// countBelow returns how many of ids, which are in descending order, are below an id.
func countBelow(ids []int64, id int64) int {
	place, _ := slices.BinarySearchFunc(ids, id, func(a, b int64) int {
		if a >= b {
			return -1
		}
		return 1
	})
	return len(ids) - place
}
