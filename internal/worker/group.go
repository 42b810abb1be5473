package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/rollup/run"
)

const (
	// metadataAlong is the key of a job's metadata that has the dates along with its own.
	metadataAlong = "along"
	// fewDates is how many small dates without a job get one each. More are put into groups: at least so many groups, so that several workers have some,
	// as long as each has a few dates.
	fewDates   = 4
	leastGroup = 5
	// unknownEvents is how many events a date counts for that had no run.
	unknownEvents = 100
	// workedFor is how long the dates along with a running job get no other job. A group takes less than a second; after that the
	// job pauses, or its worker is dead.
	workedFor = "5 s"
)

// groupRest is until when a process has no groups, because a statement of one took too long: it may be that the index of the events is of a kind
// with which many dates take longer together, or that the server is busy.
type groupRest struct{ until atomic.Int64 }

// groupRests is how long that is.
const groupRests = time.Minute

func (g *groupRest) rest(now time.Time) { g.until.Store(now.Add(groupRests).UnixNano()) }

func (g *groupRest) resting(now time.Time) bool {
	left := time.Duration(g.until.Load() - now.UnixNano())
	return left > 0 && left <= groupRests // A clock that was wrong does not matter for long.
}

// metadata returns the metadata of the job. Its mark tells the trigger on River's jobs that a request caused this job, so the job is not a
// request itself.
func (j dayJob) metadata() ([]byte, error) {
	all := map[string]string{"daymill": "request"}
	if len(j.along) > 0 {
		texts := make([]string, len(j.along))
		for i, d := range j.along {
			texts[i] = d.String()
		}
		all[metadataAlong] = strings.Join(texts, ",") // One text is one key of River's index.
	}
	return json.Marshal(all)
}

// alongOf returns the dates that a job may roll up with its own. They are only a proposal: the run looks at each.
func alongOf(metadata []byte) []date.Date {
	var all struct {
		Along string `json:"along"`
	}
	if err := json.Unmarshal(metadata, &all); err != nil || all.Along == "" {
		return nil
	}
	var dates []date.Date
	for text := range strings.SplitSeq(all.Along, ",") {
		day, err := date.Parse(text)
		if err != nil || len(dates) == run.MostGroup { // Somebody has edited it.
			return nil
		}
		dates = append(dates, day)
	}
	return dates
}

// gather decides which jobs the dates without a job get. Small dates are put into groups: the first of a group gets a job, which takes the
// others along. Those are free for another job if theirs ends without them.
func (r *reconciler) gather(ctx context.Context, p *pass) error {
	small := map[date.Date]int64{}
	if len(p.dates) > fewDates && !r.self.Follower && !r.groups.resting(r.clock.Now()) {
		dates := make([]date.Date, len(p.dates))
		for i, d := range p.dates {
			dates[i] = d.MetricDate
		}
		rows, err := p.queries.ReconcileFew(ctx, db.ReconcileFewParams{MetricDates: dates, MostEvents: r.mostFew})
		if err != nil {
			return err
		}
		for _, row := range rows {
			small[row.MetricDate] = row.Events
		}
	}
	taken, err := r.along(ctx, p, len(small) > 0)
	if err != nil {
		return err
	}
	var few []db.ReconcileDatesRow
	for _, d := range p.dates {
		if _, is := small[d.MetricDate]; !is {
			p.jobs = append(p.jobs, dayJob{date: d.MetricDate, priority: int(d.Priority)})
		} else if priority, is := taken[d.MetricDate]; !is || priority > int(d.Priority) {
			few = append(few, d)
		}
	}
	p.jobs = append(p.jobs, groups(few, small)...)
	return nil
}

// along returns the dates that a job will take along which waits or runs, with its priority.
func (r *reconciler) along(ctx context.Context, p *pass, need bool) (map[date.Date]int, error) {
	taken := map[date.Date]int{}
	if !need {
		return taken, nil
	}
	rows, err := p.tx.Query(ctx, `SELECT j.metadata, j.priority FROM `+r.jobTable+` AS j
		WHERE j.kind = 'rollup_day' AND (j.state = 'available' OR j.state = 'running' AND j.attempted_at > now() - interval '`+workedFor+`')
			AND j.metadata ? '`+metadataAlong+`'`)
	if err != nil {
		return nil, fmt.Errorf("read groups: %w", err)
	}
	var metadata []byte
	var priority int
	_, err = pgx.ForEachRow(rows, []any{&metadata, &priority}, func() error {
		for _, day := range alongOf(metadata) {
			taken[day] = min(priority, cmp.Or(taken[day], priority))
		}
		return nil
	})
	return taken, err
}

// groups returns the jobs of small dates, which are in the order in which they are wanted.
func groups(dates []db.ReconcileDatesRow, events map[date.Date]int64) (all []dayJob) {
	most := 0 // others in a group
	if len(dates) > fewDates {
		most = min(run.MostGroup, max(leastGroup, (len(dates)+fewDates-1)/fewDates)) - 1
	}
	sum := int64(0)
	for _, d := range dates {
		own := events[d.MetricDate]
		if own < 0 {
			own = unknownEvents
		}
		if last := len(all) - 1; last >= 0 && len(all[last].along) < most && sum+own <= run.MostGroupEvents {
			all[last].along = append(all[last].along, d.MetricDate)
			sum += own
			continue
		}
		all = append(all, dayJob{date: d.MetricDate, priority: int(d.Priority)})
		sum = own
	}
	return all
}
