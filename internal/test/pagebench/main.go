// Pagebench measures how long every page takes with a database of ten years: by default a million jobs, 3,650 dates, ten million rows of
// metrics, and a hundred thousand changes of a table that a view reads. `make bench-pages` runs it on a temporary Postgres. With -browser it loads one page
// of each kind in Chromium, and prints what the browser reports about each; with -url it does so with a running Daymill, whose links it follows.
package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/daymill/daymill/internal/alert"
	"github.com/daymill/daymill/internal/alert/channel"
	"github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/checkup"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/ui"
	"github.com/daymill/daymill/ui/door"
)

// options are the sizes.
type options struct {
	jobs, dates, metrics, rounds, open int
	url, password, shots               string
	browser                            bool
}

func main() {
	var o options
	flag.IntVar(&o.jobs, "jobs", 1_000_000, "rows of job history")
	flag.IntVar(&o.dates, "dates", 3_650, "dates in the ledger")
	flag.IntVar(&o.metrics, "metrics", 10_000_000, "rows of metrics")
	flag.IntVar(&o.rounds, "rounds", 40, "how often each page is loaded")
	flag.IntVar(&o.open, "open", 0, "open requests, of the last 30 dates")
	flag.BoolVar(&o.browser, "browser", false, "load one page of each kind in Chromium instead, and print requests, bytes and first paint")
	flag.StringVar(&o.url, "url", "", "measure the pages of a running Daymill in Chromium instead")
	flag.StringVar(&o.password, "password", "", "admin's password there")
	flag.StringVar(&o.shots, "shots", "", "folder for pictures of these pages, in four settings")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	work := run
	if o.url != "" {
		work = visit
	}
	err := work(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pagebench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	binaries, err := pgserver.Find(ctx)
	if err != nil {
		return err
	}
	server, err := pgserver.Start(ctx, pgserver.Config{Binaries: binaries})
	if err != nil {
		return err
	}
	defer server.Close() //nolint:contextcheck // Remove the temporary server even if ctx is done.
	conn, err := postgres.Open(ctx, postgres.Config{URL: server.URL("postgres"), ApplicationName: "pagebench", PoolSize: 6})
	if err != nil {
		return err
	}
	defer conn.Close()
	installation, err := install(ctx, conn)
	if err != nil {
		return err
	}
	patient, err := postgres.Open(ctx, postgres.Config{
		URL: server.URL("postgres"), ApplicationName: "pagebench fill", PoolSize: 6, StatementTimeout: time.Hour,
	})
	if err != nil {
		return err
	}
	defer patient.Close()
	if err := fill(ctx, patient, o, out); err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "pagebench")
	if err != nil {
		return fmt.Errorf("create the archive's folder: %w", err)
	}
	defer os.RemoveAll(folder)
	place, err := store.Directory(folder)
	if err != nil {
		return err
	}
	databases := &view.Databases{DB: conn, URL: server.URL("postgres"), Lookup: os.LookupEnv}
	defer databases.Close()
	engine := &view.Engine{DB: conn, Databases: databases}
	if err := capture(ctx, patient, o.jobs/10); err != nil {
		return fmt.Errorf("fill the log of changes: %w", err)
	}
	if err := views(ctx, patient, engine, o.jobs/10); err != nil {
		return fmt.Errorf("fill the view: %w", err)
	}
	if err := archived(ctx, place, 2000); err != nil {
		return fmt.Errorf("fill the archive: %w", err)
	}
	if _, err := patient.Exec(ctx, "VACUUM ANALYZE"); err != nil {
		return fmt.Errorf("analyze: %w", err)
	}
	return measure(ctx, ui.Config{
		DB: conn, Installation: installation, Views: engine, Archive: &standing.Source{Store: place},
		Alerts: &alert.Keeper{DB: conn, Env: channel.Environment{Lookup: os.LookupEnv}},
		Doctor: func(ctx context.Context) doctor.Report {
			return doctor.Look(ctx, doctor.Config{DB: conn, Clock: pace.SystemClock{}, PoolSize: 6, Discreet: true, Checks: checkup.Checks()})
		},
	}, o, out)
}

func install(ctx context.Context, conn *postgres.DB) (schema.Installation, error) {
	_, err := schema.Up(ctx, conn, schema.Options{
		EntityType: entity.Bigint, TimeZone: "America/Sao_Paulo",
		River: worker.RiverMigrator(conn.Pool),
	})
	if err != nil {
		return schema.Installation{}, err
	}
	installation, err := schema.Get(ctx, conn)
	if err != nil {
		return schema.Installation{}, err
	}
	return installation, source.Create(ctx, conn, installation, audit.Who{})
}

// fill inserts a random history with SQL. All dates have the same entities.
func fill(ctx context.Context, conn *postgres.DB, o options, out io.Writer) error {
	dates, entities := strconv.Itoa(o.dates), strconv.Itoa(max(1, o.metrics/o.dates))
	for _, step := range []struct{ what, sql string }{
		{"events", `INSERT INTO public.raw_events (entity_id, event_type, created_at)
			SELECT i % 1000, 'view', now() - i * interval '1 day' / 10 FROM generate_series(1, ` + dates + ` * 10) AS i`},
		{"runs", `INSERT INTO analytics.rollup_runs (metric_date, state, job_id, attempt, worker, started_at, finished_at, events, entities, phase, progress)
			SELECT current_date - i % ` + dates + `, CASE WHEN i % 997 = 0 THEN 'failed' ELSE 'complete' END, i, 1, 'worker.1',
				now() - i * interval '1 minute', now() - i * interval '1 minute' + interval '2 seconds', 1000, ` + entities + `, 'settle', 1
			FROM generate_series(1, ` + strconv.Itoa(o.jobs/4) + `) AS i`},
		{"dates", `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id, complete_run_id, completed_at, events, entities)
			SELECT current_date - i, CASE WHEN i % 301 = 0 THEN 'failed' ELSE 'complete' END, i, i AS scanned, i AS completed, now() - i * interval '1 day', 1000 + i % 500, ` + entities + `
			FROM generate_series(1, ` + dates + `) AS i`},
		{"types", `INSERT INTO analytics.date_types
			SELECT current_date - i, jsonb_build_object('views', 700 + i % 500, 'clicks', 200, 'saves', 50, 'skips', 40, 'other', '{"share": 9, "print": 1}'::jsonb)
			FROM generate_series(1, ` + dates + `) AS i`},
		{"requests", `INSERT INTO analytics.rollup_requests (metric_date, requested_at, due_at, resolved_at, resolution)
			SELECT current_date - i % ` + dates + `, now() - i * interval '1 minute', now() - i * interval '1 minute', now() - i * interval '1 minute' + interval '3 seconds', 'satisfied'
			FROM generate_series(1, ` + strconv.Itoa(o.jobs/4) + `) AS i`},
		{"jobs", `INSERT INTO daymill.jobs (id, kind, metric_date, args, state, queue, priority, attempt, max_attempts, attempted_by,
				created_at, scheduled_at, attempted_at, finalized_at, errors, pruned_at)
			SELECT i, CASE WHEN i % 500 = 0 THEN 'daily_rollup' WHEN i % 5003 = 0 THEN 'backfill' ELSE 'rollup_day' END,
				current_date - i % ` + dates + `, jsonb_build_object('date', current_date - i % ` + dates + `),
				CASE WHEN i % 997 = 0 THEN 'discarded' WHEN i % 1999 = 0 THEN 'cancelled' ELSE 'completed' END,
				'daymill', 1, 1, 10, 'worker.1', now() - i * interval '1 minute', now() - i * interval '1 minute',
				now() - i * interval '1 minute', now() - i * interval '1 minute',
				CASE WHEN i % 997 = 0 THEN '[{"at": "2026-01-01T00:00:00Z", "attempt": 1, "error": "the disk is on fire", "trace": ""}]' ELSE '[]' END::jsonb,
				now()
			FROM generate_series(1, ` + strconv.Itoa(o.jobs) + `) AS i`},
		{"open requests", `INSERT INTO analytics.rollup_requests (metric_date, due_at)
			SELECT current_date - 1 - i % 30, now() - i * interval '1 second' FROM generate_series(1, ` + strconv.Itoa(o.open) + `) AS i`},
		{"audit", `INSERT INTO daymill.audit (at, actor, via, action, target)
			SELECT now() - i * interval '1 minute', CASE WHEN i % 3 = 0 THEN 'admin' ELSE 'app' END, CASE WHEN i % 3 = 0 THEN 'web' ELSE 'sql' END,
				CASE WHEN i % 100 = 0 THEN 'start backfill' ELSE 'request dates' END, (current_date - i % ` + dates + `)::text
			FROM generate_series(1, ` + strconv.Itoa(o.jobs/4) + `) AS i`},
		{"backfills", `INSERT INTO analytics.backfills (first_date, last_date, state, finished_at)
			SELECT current_date - ` + dates + `, current_date - 1, 'complete', now() FROM generate_series(1, 30)`},
		{"dates of backfills", `INSERT INTO analytics.backfill_dates (backfill_id, metric_date, state, requested_at, finished_at)
			SELECT b.id, current_date - i, 'complete', now() - interval '1 second', now()
			FROM analytics.backfills AS b CROSS JOIN generate_series(1, ` + dates + `) AS i`},
		{"metrics", `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count, clicks_count, saves_count, skips_count, other_counts)
			SELECT e, current_date - i, (e + i) % 1000, e % 50, e % 7, i % 3, CASE WHEN e % 10 = 0 THEN '{"share": 3, "print": 1}' ELSE '{}' END::jsonb
			FROM generate_series(1, ` + dates + `) AS i CROSS JOIN generate_series(1, ` + entities + `) AS e`},
		{"statistics", "VACUUM ANALYZE"},
	} {
		start := time.Now() //nolint:forbidigo // Only printed.
		if _, err := conn.Exec(ctx, step.sql); err != nil {
			return fmt.Errorf("fill %s: %w", step.what, err)
		}
		fmt.Fprintf(out, "%-20s %s\n", step.what, time.Since(start).Round(time.Millisecond))
	}
	return nil
}

// paths returns all pages, with the slowest filters. TestPaths compares them with the routes.
func paths(o options) []string {
	today := time.Now() //nolint:forbidigo // The history ends today.
	day := func(n int) string { return today.AddDate(0, 0, -n).Format(time.DateOnly) }
	year := strconv.Itoa(today.Year() - 3)
	id, change := strconv.Itoa(o.jobs/2), strconv.Itoa(min(9000, o.jobs/10))
	return []string{
		"/", "/?year=" + year, "/dates", "/dates?state=failed", "/dates?state=complete&from=" + day(2000) + "&to=" + day(1000), "/dates/" + day(100),
		"/jobs", "/jobs?state=discarded", "/jobs?state=cancelled&kind=backfill", "/jobs?kind=backfill", "/jobs?state=completed&kind=rollup_day",
		"/jobs?from=" + day(3000) + "&to=" + day(10), "/jobs?from=" + day(3000) + "&to=" + day(10) + "&state=cancelled&kind=backfill",
		"/jobs?q=fire", "/jobs?q=rollup_day", "/jobs?before=" + id, "/jobs?after=" + id, "/jobs/" + id,
		"/backfills", "/backfills/30", "/backfills?from=" + day(365) + "&to=" + day(1) + "&which=all",
		"/entities", "/entities?metric=clicks", "/entity?id=17", "/entity?id=17&range=365", "/entity?id=17&from=" + day(3650) + "&to=" + day(1),
		"/entities?metric=events&period=30", "/totals", "/totals?days=1095&by=week", "/trends", "/trends?span=72h", "/trends?span=90d", "/attention",
		"/schedule", "/audit", "/audit?actor=admin", "/audit?action=start+backfill", "/api/dates?from=" + day(400) + "&to=" + day(100),
		"/api/entities/17/metrics?from=" + day(400) + "&to=" + day(100),
		"/jobs/bulk?action=retry", "/jobs/bulk/result?action=retry&shown=1&done=0&before=5&max_id=" + id + "&at=" + day(0) + "T00:00:00Z", "/verifications", "/verifications?result=drifted", "/help", "/doctor",
		"/alerts", "/archive", "/entity.csv?id=17&from=" + day(3650) + "&to=" + day(1), "/totals.csv?days=1095",
		"/capture", "/consumers", "/consumers/events", "/deadletters", "/deadletters/events", "/deadletters/events?state=waiting&after=9000",
		"/deadletters/events/" + change, "/changes", "/changes?table=public.orders&key=17", "/changes?op=delete", "/changes/app/" + change,
		"/views", "/views/" + viewed, "/views/" + viewed + "?before=9000", "/views/" + viewed + "/search?q=customer", "/views/" + viewed + "/definition.yaml",
		"/definition", "/definition?view=" + viewed, "/builder",
	}
}

// measure loads the pages in several rounds, and prints the median and the 95th percentile of each.
func measure(ctx context.Context, config ui.Config, o options, out io.Writer) error {
	admin, err := worker.NewAdmin(config.DB, config.Installation)
	if err != nil {
		return err
	}
	config.Jobs, config.Logger, config.Clock = admin, slog.New(slog.NewTextHandler(os.Stderr, nil)), pace.SystemClock{}
	config.Ready = func(context.Context) error { return nil }
	if o.browser {
		o.password = rand.Text()
		config.Access = door.Access{AdminPassword: o.password} // Otherwise there is no page for the login.
	}
	server := httptest.NewServer(ui.Handler(config))
	defer server.Close()
	if o.browser {
		o.url = server.URL
		return look(ctx, o, kinds(o), false, out)
	}
	took := make(map[string][]time.Duration)
	size := make(map[string]int)
	for range o.rounds {
		for _, path := range paths(o) {
			start := time.Now() //nolint:forbidigo // The measured time.
			n, err := load(ctx, server.URL+path)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			took[path] = append(took[path], time.Since(start))
			size[path] = n
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "\nmedian ms\tp95 ms\tkB\t page\n")
	for _, path := range paths(o) {
		all := took[path]
		slices.Sort(all)
		fmt.Fprintf(table, "%.1f\t%.1f\t%d\t %s\n", milliseconds(all[len(all)/2]), milliseconds(all[len(all)*95/100]), size[path]/1024, path)
	}
	return table.Flush()
}

func load(ctx context.Context, address string) (size int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", answer.StatusCode, regexp.MustCompile(`role="alert">[^<]*`).Find(body)) //nolint:err113 // It is printed.
	}
	return len(body), err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
