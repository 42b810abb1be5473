package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

const (
	// MostTrend is how many runs, and how many requests, [ReadTrends] adds up at most: the latest.
	MostTrend = 30_000
	// trendLimit is how long each of its statements may take, because a page waits for the answer.
	trendLimit = 250 * time.Millisecond
)

// Spread has the median and the 95th percentile of some durations.
type Spread struct {
	Median, Most time.Duration
}

// Trend is what happened in an hour or a day.
type Trend struct {
	At       time.Time // when it began
	Complete int64     // runs that completed
	Failed   int64     // runs that ended in any other way
	Events   int64     // of the runs that completed
	Run      Spread    // how long these took
	Requests int64     // that were satisfied
	Waited   Spread    // how long these took from when they were due
	Open     int64     // requests that were due and open when it ended
}

// Trends is the trend of some hours or days.
type Trends struct {
	Each []Trend // earliest first, without gaps
	// Cut reports that the ledger has more than MostTrend runs or requests since the instant, so that Each begins later.
	Cut bool
	// Deep reports that more than MostTrend requests may be open, so that Open is too low.
	Deep bool
	// Slow reports that the ledger could not be added up in time. Then Each is empty.
	Slow bool
}

// TrendUnit is what one Trend covers.
type TrendUnit string

// Units of trends.
const (
	ByHour TrendUnit = "hour"
	ByDay  TrendUnit = "day"
)

// begins returns when the unit that begins some units before that of an instant begins.
func (u TrendUnit) begins(at time.Time, before int) time.Time {
	if u == ByHour {
		return at.Add(-time.Duration(at.Minute())*time.Minute - time.Duration(at.Second())*time.Second -
			time.Duration(at.Nanosecond()) - time.Duration(before)*time.Hour)
	}
	noon := time.Date(at.Year(), at.Month(), at.Day()-before, 12, 0, 0, 0, at.Location())
	begin := time.Date(noon.Year(), noon.Month(), noon.Day(), 0, 0, 0, 0, at.Location())
	if begin.Day() != noon.Day() { // There is no midnight where the clocks go forward then.
		begin = begin.Add(time.Hour)
	}
	return begin
}

// ReadTrends adds up runs and requests of the ledger by hour or day of the zone of an instant, which Postgres knows by a name: the unit that has the
// instant, and number-1 before it.
func ReadTrends(ctx context.Context, conn *postgres.DB, now time.Time, zone string, unit TrendUnit, number int) (Trends, error) {
	begins := make([]time.Time, number)
	for i := range begins {
		begins[i] = unit.begins(now, number-1-i)
	}
	var runs []db.TrendRunsRow
	var waits []db.TrendLatencyRow
	var changes []db.TrendDepthRow
	session, err := conn.Session(ctx)
	if err != nil {
		return Trends{}, err
	}
	defer session.Release(context.WithoutCancel(ctx))
	err = session.Read(ctx, trendLimit, func(ctx context.Context, on postgres.DBTX) (err error) {
		queries := db.New(on)
		runs, err = queries.TrendRuns(ctx, db.TrendRunsParams{Begins: begins, MaxRows: MostTrend})
		if err != nil {
			return err
		}
		waits, err = queries.TrendLatency(ctx, db.TrendLatencyParams{Begins: begins, Zone: zone, MaxRows: MostTrend})
		if err != nil {
			return err
		}
		changes, err = queries.TrendDepth(ctx, db.TrendDepthParams{Begins: begins, Zone: zone, Until: now, MaxRows: MostTrend})
		return err
	})
	if postgres.IsTimeout(err) {
		return Trends{Slow: true}, nil
	}
	if err != nil {
		return Trends{}, fmt.Errorf("add up the ledger: %w", err)
	}
	return trends(begins, runs, waits, changes), nil
}

func trends(begins []time.Time, runs []db.TrendRunsRow, waits []db.TrendLatencyRow, changes []db.TrendDepthRow) (all Trends) {
	each := make([]Trend, len(begins))
	begin := begins[0]
	for i, at := range begins {
		each[i].At = at
	}
	for _, r := range runs {
		t := &each[r.Place-1]
		t.Complete, t.Failed, t.Events, t.Run = r.Complete, r.Others, r.Events, spread(r.Median, r.Most)
		if r.Known == MostTrend && r.KnownFrom.After(begin) {
			begin, all.Cut = r.KnownFrom, true
		}
	}
	for _, r := range waits {
		t := &each[r.Place-1]
		t.Requests, t.Waited = r.Satisfied, spread(r.Median, r.Most)
		if r.Known == MostTrend && r.KnownFrom.After(begin) {
			begin, all.Cut = r.KnownFrom, true
		}
	}
	for _, r := range changes {
		each[r.Place-1].Open = r.Change
		all.Deep = r.Open == MostTrend
	}
	for i := range each {
		if i > 0 {
			each[i].Open += each[i-1].Open
		}
		if !each[i].At.Before(begin) { // Otherwise a part of it is not known.
			all.Each = append(all.Each, each[i])
		}
	}
	return all
}

func spread(median, most float64) Spread {
	return Spread{Median: time.Duration(median * float64(time.Second)), Most: time.Duration(most * float64(time.Second))}
}
