package run

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/batch"
	"github.com/daymill/daymill/internal/rollup/figure"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/rollup/protection"
	"github.com/daymill/daymill/internal/rollup/slice"
)

// A small date costs more in statements and transactions than in work, so one transaction rolls up a group of them, with one statement for each step
// of all dates. It is exact for the reasons for which a run is:
//
//   - The transaction locks each date's row of the ledger before it reads anything, and gives the date another run and another token before it
//     writes metrics. So an older run, which cannot pass the fence meanwhile, finds that it was replaced; and another one cannot begin meanwhile.
//   - One statement reads all events. Its snapshot is of one instant, which is later than that of the requests that the group satisfies.
//   - Before the commit, what is stored of each date is compared with what was counted.
//   - A crash at any moment undoes everything, and the requests are open. The server that was read is the one that commits.
//
// A date that is unusual in any way is left out, and gets a job of its own. If anything fails, nothing is written, and each date gets a job of its
// own. A group waits for no lock.

const (
	// MostGroup is how many dates a group has at most. They are locked for as long as it takes, a tenth of a second or less.
	MostGroup = 50
	// MostGroupEvents is how many events a group has at most, as far as that is known.
	MostGroupEvents = 5_000
	// mostGroupRequests is how many open requests each of its dates may have.
	mostGroupRequests = 100
	// mostGroupRead is how many events a group takes in, if it had to be read to know how many there are. Dates beyond are left to another group.
	mostGroupRead = 2 * MostGroupEvents
)

// ErrAlone means that a job must run its date alone.
var ErrAlone = errors.New("the date must be rolled up alone")

// errGroupWaits means that somebody holds a lock that a group needs.
var errGroupWaits = errors.New("a lock is held that a group of dates needs")

// MostFew returns how many events a small date may have.
func (o Options) MostFew() int { return slice.MostFew(o.SliceCounts) }

// group is a transaction that rolls up several dates.
type group struct {
	*Runner

	order   Order
	pacer   *pace.Pacer
	session *postgres.Session

	members []*member
	// alone has the dates that need a job of their own.
	alone   []date.Date
	longest time.Duration // statement
	phases  [3]time.Duration
}

// member is a date of a group.
type member struct {
	date     date.Date
	bounds   date.Bounds
	requests []int64
	facts    protection.Facts
	table    *merge.Table
	events   int64
	stored   []db.MetricRangeRow

	id        int64
	token     pgtype.UUID
	claimed   int64
	wrote     figure.Rows
	totals    batch.Totals
	top       []byte
	types     []byte
	satisfied int64
}

// Group rolls up the order's date and others that are small, in one transaction. It returns the report of the order's date, and the number of dates that
// are complete. It returns the dates that need a job of their own in any case. If the error wraps ErrAlone, it has done nothing, and the order's date
// is one for Run. A date that is no longer requested, or that somebody else holds, is simply left out.
func (r *Runner) Group(ctx context.Context, order Order, along []date.Date) (report Report, complete int, alone []date.Date, err error) {
	pair, err := r.Primary.Pair(ctx, r.Source, func(context.Context) error { return errGroupWaits })
	if err != nil {
		return Report{}, 0, nil, err
	}
	defer pair.Release(ctx, ledgerLimit)
	if pair.Follows() {
		return Report{}, 0, nil, ErrAlone
	}
	g := &group{Runner: r, order: order, pacer: &pace.Pacer{Clock: r.Clock, Pace: r.Options.Pace}, session: pair.Primary}
	began := r.Clock.Now()
	took, err := g.pacer.Do(g.session, func() error {
		return g.session.Keyed(ctx, pace.Limit, func(ctx context.Context, on postgres.DBTX) error { return g.roll(ctx, db.New(on), along) })
	})
	if err != nil {
		if errors.Is(err, ErrNothingToDo) || errors.Is(err, ErrNotOver) || ctx.Err() != nil {
			return Report{}, 0, nil, err
		}
		if errors.Is(err, ErrAlone) {
			return Report{}, 0, g.alone, err
		}
		return Report{}, 0, along, fmt.Errorf("%w: %w", ErrAlone, err)
	}
	// The dates are complete, so whether the pause was cut short does not matter.
	_ = g.pacer.Pause(ctx, took)
	g.tell(ctx, r.Clock.Now().Sub(began))
	report = g.report()
	if order.Progress != nil {
		order.Progress(report)
	}
	return report, len(g.members), g.alone, nil
}

// roll is the transaction. It may be called again if the connection was cut.
func (g *group) roll(ctx context.Context, queries *db.Queries, along []date.Date) error {
	g.members, g.alone, g.longest, g.phases = nil, nil, 0, [3]time.Duration{}
	for i, do := range []func(context.Context, *db.Queries) error{
		func(ctx context.Context, queries *db.Queries) error { return g.take(ctx, queries, along) },
		g.scan, g.stored, g.begin, g.publish, g.settle,
	} {
		start := g.Clock.Now()
		if err := do(ctx, queries); err != nil {
			return err
		}
		g.phases[[...]int{0, 0, 1, 1, 1, 2}[i]] += g.Clock.Now().Sub(start)
	}
	return nil
}

// timed runs a statement, and notes the longest.
func (g *group) timed(do func() error) error {
	lap := g.pacer.Lap(g.session)
	err := do()
	took, _ := lap()
	g.longest = max(g.longest, took)
	return err
}

// take locks the dates, and reads their requests.
func (g *group) take(ctx context.Context, queries *db.Queries, along []date.Date) error {
	lead := g.order.Date
	var found db.DateTakeRow
	err := g.timed(func() (err error) {
		found, err = queries.DateTake(ctx, db.DateTakeParams{
			MetricDate: lead, NextDate: lead.AddDays(1), Silence: cmp.Or(g.Options.Silence, lease.Silence),
		})
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("lock the date: %w", err)
	case !found.Sound, found.Partitioned, found.Citus:
		return ErrAlone
	case !found.Over || found.ToInstant.After(g.Clock.Now()):
		return ErrNotOver
	case !found.Requested:
		return ErrNothingToDo
	}
	var taken []db.GroupTakeRow
	err = g.timed(func() (err error) {
		taken, err = queries.GroupTake(ctx, db.GroupTakeParams{
			MetricDates: append([]date.Date{lead}, along...), MostEvents: int64(g.Options.MostFew()),
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("lock the dates: %w", err)
	}
	for _, t := range taken {
		g.members = append(g.members, &member{date: t.MetricDate, bounds: date.Bounds{From: t.FromInstant, To: t.ToInstant}})
	}
	var facts []db.GroupFactsRow
	err = g.timed(func() (err error) {
		facts, err = queries.GroupFacts(ctx, db.GroupFactsParams{
			MetricDates: g.dates(), AtInstant: g.Clock.Now(), MaxRows: mostGroupRequests + 1,
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("read what is requested: %w", err)
	}
	if len(facts) != len(g.members) {
		return ErrAlone
	}
	var rest, special []*member
	for i, m := range g.members {
		f := facts[i]
		m.requests, m.facts = f.RequestIds, protection.Facts{
			HadEvents: f.HadEvents, Recorded: f.Recorded, BeyondRetention: f.BeyondRetention, NotKept: f.NotKept, MayLose: f.MayLose,
		}
		switch {
		case f.Special:
			special = append(special, m)
		case len(f.RequestIds) == 0, m.bounds.To.After(g.Clock.Now()):
			rest = append(rest, m)
		}
	}
	return g.leave(ctx, queries, rest, special)
}

// leave takes dates out of the group: others that the next group may have, and those that need a job of their own.
func (g *group) leave(ctx context.Context, queries *db.Queries, rest, special []*member) error {
	gone := slices.Concat(rest, special)
	if len(gone) > 0 {
		g.members = slices.DeleteFunc(g.members, func(m *member) bool { return slices.Contains(gone, m) })
		dates := make([]date.Date, len(gone))
		for i, m := range gone {
			dates[i] = m.date
			if slices.Contains(special, m) && m.date != g.order.Date { // That has a job.
				g.alone = append(g.alone, m.date)
			}
		}
		if err := g.timed(func() error { return queries.GroupLeave(ctx, dates) }); err != nil {
			return fmt.Errorf("leave dates to others: %w", err)
		}
	}
	if g.lead() == nil {
		return ErrAlone
	}
	return nil
}

// lead returns the member of the order's date; nil if it is not in the group.
func (g *group) lead() *member {
	for _, m := range g.members {
		if m.date == g.order.Date {
			return m
		}
	}
	return nil
}

func (g *group) dates() []date.Date {
	dates := make([]date.Date, len(g.members))
	for i, m := range g.members {
		dates[i] = m.date
	}
	return dates
}

// scan reads the events of all dates. It leaves out dates that are not small, and those whose metrics are protected.
func (g *group) scan(ctx context.Context, queries *db.Queries) error {
	most := g.Options.MostFew()
	bounds := make([]date.Bounds, len(g.members))
	for i, m := range g.members {
		bounds[i] = m.bounds
	}
	fresh := func(place, events int) slice.Table {
		m := g.members[place]
		m.table = merge.New(min(max(1, events), cmp.Or(g.Options.MaxEntities, merge.DefaultMaxEntities)))
		return m.table
	}
	var events []int64
	err := g.timed(func() (err error) {
		events, err = slice.Group(ctx, queries, g.Type, bounds, most, fresh)
		return err
	})
	if err != nil {
		return err
	}
	var rest, special []*member
	sum := int64(0)
	for i, m := range g.members {
		if m.events = events[i]; m.events < 0 {
			special = append(special, m)
			continue
		}
		known, err := m.facts.Judge(func() (bool, error) { return m.events > 0, nil })
		if err == nil {
			err = known.Check(m.events)
		}
		if err != nil {
			special = append(special, m)
			continue
		}
		if sum += m.events; sum > mostGroupRead && m.date != g.order.Date {
			rest = append(rest, m)
		}
	}
	return g.leave(ctx, queries, rest, special)
}

// stored reads the stored rows of all dates. It leaves out dates that have many.
func (g *group) stored(ctx context.Context, queries *db.Queries) error {
	var found []db.GroupRowsRow
	err := g.timed(func() (err error) {
		found, err = queries.GroupRows(ctx, db.GroupRowsParams{MetricDates: g.dates(), MaxRows: mostStored + 1})
		return err
	})
	if err != nil {
		return fmt.Errorf("read metrics: %w", err)
	}
	rows := make(map[date.Date][]db.MetricRangeRow, len(g.members))
	for _, row := range found {
		rows[row.MetricDate] = append(rows[row.MetricDate], db.MetricRangeRow{
			EntityID: row.EntityID, ViewsCount: row.ViewsCount, ClicksCount: row.ClicksCount, SavesCount: row.SavesCount,
			SkipsCount: row.SkipsCount, OtherCounts: row.OtherCounts,
		})
	}
	var special []*member
	for _, m := range g.members {
		if m.stored = rows[m.date]; len(m.stored) > mostStored {
			special = append(special, m)
		}
	}
	return g.leave(ctx, queries, nil, special)
}

// begin takes the dates for their runs, which claim the requests.
func (g *group) begin(ctx context.Context, queries *db.Queries) error {
	arg := db.GroupBeginParams{MetricDates: g.dates(), JobID: g.order.JobID, Worker: g.Options.Worker}
	if g.order.JobID != nil {
		attempt := int32(g.order.Attempt) //nolint:gosec // River's own is a smallint.
		arg.Attempt = &attempt
	}
	for _, m := range g.members {
		arg.RequestIds = append(arg.RequestIds, m.requests...)
	}
	var begun []db.GroupBeginRow
	err := g.timed(func() (err error) {
		begun, err = queries.GroupBegin(ctx, arg)
		return err
	})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if len(begun) != len(g.members) {
		return lease.ErrFenced
	}
	for i, m := range g.members {
		m.id, m.token, m.claimed = begun[i].ID, begun[i].Token, begun[i].Claimed
	}
	return nil
}

// publish makes the stored rows of all dates equal to the counted ones.
func (g *group) publish(ctx context.Context, queries *db.Queries) (err error) {
	writer := batch.Group{Type: g.Type}
	for _, m := range g.members {
		rows := m.table.Rows().List()
		if m.wrote, m.totals, err = writer.Add(m.date, rows, m.stored); err != nil {
			return err
		}
		if err := m.sum(g.Runner, rows); err != nil {
			return err
		}
	}
	return g.timed(func() error { return writer.Write(ctx, queries) })
}

// sum makes what the ledger keeps of the rows: the top entities, and the sums of all.
func (m *member) sum(as *Runner, rows []merge.Row) (err error) {
	var top merge.Top
	var sums merge.Sums
	for i := range rows {
		top.Add(&rows[i], rows[i].Events())
		sums.Add(&rows[i])
	}
	if m.top, err = as.topText(top); err == nil {
		m.types, err = json.Marshal(sums.Short(merge.MostTypes))
	}
	if err != nil {
		return fmt.Errorf("record the top entities and the sums: %w", err)
	}
	return nil
}

// settle ends the runs, satisfies the requests, completes the dates, and compares what is stored with what was counted.
func (g *group) settle(ctx context.Context, queries *db.Queries) error {
	arg := db.GroupSettleParams{
		MetricDates:        g.dates(),
		Beat:               0, // The transaction gives no signs of life.
		LongestStatementMs: float32(g.longest.Seconds() * 1000), WorkedMs: g.part(g.phases[0] + g.phases[1]).Milliseconds(),
	}
	for _, m := range g.members {
		arg.RunIds, arg.Tokens = append(arg.RunIds, m.id), append(arg.Tokens, m.token)
		arg.Events, arg.Entities = append(arg.Events, m.totals.Events), append(arg.Entities, m.totals.Entities)
		arg.RowsInserted, arg.RowsUpdated = append(arg.RowsInserted, m.wrote.Inserted), append(arg.RowsUpdated, m.wrote.Updated)
		arg.RowsDeleted = append(arg.RowsDeleted, m.wrote.Deleted)
		arg.Tops, arg.Types = append(arg.Tops, string(m.top)), append(arg.Types, string(m.types))
	}
	var settled []db.GroupSettleRow
	err := g.timed(func() (err error) {
		settled, err = queries.GroupSettle(ctx, arg)
		return err
	})
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	if len(settled) != len(g.members) {
		return lease.ErrFenced
	}
	for i, m := range g.members {
		s := settled[i]
		if !s.Completed {
			return lease.ErrFenced
		}
		if stored := (batch.Totals{Events: s.Events, Entities: s.Rows}); stored != m.totals || m.totals.Events != m.events {
			return inexact(stored, m.totals)
		}
		m.satisfied = s.Satisfied
	}
	return nil
}

// part returns each date's part of a time.
func (g *group) part(all time.Duration) time.Duration { return all / time.Duration(len(g.members)) }

// report returns the report of the order's date.
func (g *group) report() Report {
	m := g.lead()
	return Report{Figures: g.figures(m), RunID: m.id, Date: m.date, Phase: PhaseSettle, Progress: 1}
}

func (g *group) figures(m *member) figure.Figures {
	return figure.Figures{
		Rows: m.wrote, Events: m.totals.Events, Entities: m.totals.Entities, Passes: 1, Slices: 1, Batches: batches(m.wrote),
		Longest: g.longest, Worked: g.part(g.pacer.Worked), Paused: g.part(g.pacer.Paused),
	}
}
