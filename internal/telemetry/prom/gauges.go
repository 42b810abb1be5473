package prom

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// readAtMost is how often the database is read. More frequent scrapes get the same values again.
	readAtMost = 5 * time.Second
	// readLimit bounds a reading. Scrapers usually wait for ten seconds.
	readLimit = 3 * time.Second
)

// Snapshot has the values of the gauges.
type Snapshot struct {
	Dates             map[string]int64 // by state
	OpenRequests      int64
	OldestDue         time.Duration    // 0 where none is due
	Queue             map[string]int64 // jobs that are not finished, by River's state
	OldestAvailable   *time.Time       // when the oldest available job became available; nil if there is none
	Backfills         map[string]int64 // running and paused
	BackfillDatesLeft int64
	Workers           int64
	LastSchedule      *time.Time // nil until the daily job first does its work
	SchedulePaused    bool
	Findings          map[string]int64 // of package health, by level
	Streams           []Stream
	Consumers         []Consumer
}

// Gauges is the collector of the gauges. It reads the database when it is scraped, at most every five seconds.
type Gauges struct {
	// Read reads the database with a few short statements.
	Read func(ctx context.Context) (Snapshot, error)
	// Failed, if not nil, is called with the error if the database could not be read.
	Failed func(err error)
	Clock  interface{ Now() time.Time }

	mu     sync.Mutex
	readAt time.Time
	last   []prometheus.Metric
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

//nolint:gochecknoglobals // Constants, were there constant structs.
var (
	readable        = describe("daymill_database_up", "Whether the gauges could be read from the database; the others are missing where not.")
	dates           = describe("daymill_dates", "Dates by state, as `daymill status` counts them.", "state")
	openRequests    = describe("daymill_open_requests", "Requests that are not resolved, those that wait for later included.")
	oldestDue       = describe("daymill_oldest_due_request_age_seconds", "How long the oldest open request has been due; 0 where none is.")
	queueJobs       = describe("daymill_queue_jobs", "Jobs of Daymill's that are not finished, by River's state.", "state")
	oldestAvailable = describe("daymill_queue_oldest_available_age_seconds", "How long the oldest job has been ready to be worked; 0 where none is.")
	openBackfills   = describe("daymill_open_backfills", "Backfills that have not ended, by state.", "state")
	backfillLeft    = describe("daymill_open_backfill_dates", "Dates of open backfills that have not ended.")
	workersAlive    = describe("daymill_workers_alive", "Worker processes seen within two minutes.")
	lastSchedule    = describe("daymill_daily_job_last_run_timestamp_seconds", "When the daily job last did its work; missing before it first did.")
	healthFindings  = describe("daymill_health_findings", "What `daymill status` finds, by level: bad keeps dates from being right, wait needs a person or time.", "level")
	schedulePaused  = describe("daymill_daily_job_paused", "1 while somebody has paused the daily job.")
)

// Describe lists the gauges.
func (*Gauges) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		readable, dates, openRequests, oldestDue, queueJobs, oldestAvailable, openBackfills, backfillLeft, workersAlive,
		lastSchedule, schedulePaused, healthFindings,
	} {
		to <- desc
	}
	describeCapture(to)
}

// Collect reads the database unless it was read within readAtMost. Concurrent scrapes share a reading.
func (g *Gauges) Collect(to chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.Clock.Now()
	if age := now.Sub(g.readAt); g.last == nil || age >= readAtMost || age < 0 {
		g.readAt, g.last = now, g.read(now)
	}
	for _, metric := range g.last {
		to <- metric
	}
}

func (g *Gauges) read(now time.Time) []prometheus.Metric {
	// Prometheus passes no context to collectors.
	ctx, cancel := context.WithTimeout(context.Background(), readLimit)
	defer cancel()
	snapshot, err := g.Read(ctx)
	if err != nil {
		if g.Failed != nil {
			g.Failed(err)
		}
		return []prometheus.Metric{gauge(readable, 0)}
	}
	return snapshot.metrics(now)
}

func gauge(desc *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

func (s Snapshot) metrics(now time.Time) []prometheus.Metric {
	all := []prometheus.Metric{
		gauge(readable, 1),
		gauge(openRequests, float64(s.OpenRequests)),
		gauge(oldestDue, max(0, s.OldestDue).Seconds()),
		gauge(backfillLeft, float64(s.BackfillDatesLeft)),
		gauge(workersAlive, float64(s.Workers)),
	}
	byState := func(desc *prometheus.Desc, counts map[string]int64) {
		for state, count := range counts {
			all = append(all, gauge(desc, float64(count), state))
		}
	}
	all = append(all, s.capture()...)
	byState(healthFindings, s.Findings)
	byState(dates, s.Dates)
	byState(queueJobs, s.Queue)
	byState(openBackfills, s.Backfills)
	age, paused := time.Duration(0), 0.0
	if s.OldestAvailable != nil {
		age = max(0, now.Sub(*s.OldestAvailable))
	}
	if s.SchedulePaused {
		paused = 1
	}
	all = append(all, gauge(oldestAvailable, age.Seconds()), gauge(schedulePaused, paused))
	if s.LastSchedule != nil {
		all = append(all, gauge(lastSchedule, float64(s.LastSchedule.UnixMilli())/1000))
	}
	return all
}
