package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/demo"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/backfill"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/worker"
)

type demoCmd struct {
	webOptions

	Days     int  `default:"90" help:"How many days of history to make up."`
	Events   int  `default:"15000" help:"How many events an ordinary day has."`
	Entities int  `default:"8000" help:"How many entities there are."`
	Exit     bool `help:"Exit after the report instead of keeping the worker and the page running."`
}

func (c *demoCmd) check() error {
	if err := c.webOptions.check(); err != nil {
		return err
	}
	switch {
	case c.Days < 1 || c.Days > date.MaxDates:
		return usagef("--days is %d: give a number from 1 to %d", c.Days, date.MaxDates)
	case c.Events < 1 || c.Events > 10_000_000:
		return usagef("--events is %d: give a number from 1 to 10,000,000", c.Events)
	case c.Entities < 1 || c.Entities > 10_000_000:
		return usagef("--entities is %d: give a number from 1 to 10,000,000", c.Entities)
	default:
		return nil
	}
}

// Run shows Daymill on a made-up history.
func (c *demoCmd) Run(ctx context.Context, a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	err := c.run(ctx, a)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errors.New("the demo was interrupted")
	}
	return err
}

func (c *demoCmd) run(ctx context.Context, a *app) error {
	if a.DatabaseURL == "" {
		server, err := throwaway(ctx, a)
		if err != nil {
			return err
		}
		defer server.Close() //nolint:contextcheck // It is temporary: remove it even if ctx is done.
		a.DatabaseURL = server.URL("postgres")
	}
	a.PoolSize = max(a.PoolSize, worker.DefaultWorkers+12)
	a.LogLevel = max(a.LogLevel, slog.LevelWarn)
	listener, err := c.listen(ctx)
	if err != nil {
		return err
	}
	if listener != nil {
		defer listener.Close()
	}
	conn, err := a.open(ctx, "demo")
	if err != nil {
		return err
	}
	defer conn.Close()
	if a.throwaway { // Its address has no secret, and nobody else can use it.
		a.printf("Postgres is at %s\n", a.DatabaseURL)
	} else {
		a.printf("Postgres is at %s\n", withoutPassword(a.DatabaseURL))
	}

	installation, err := c.install(ctx, conn)
	if err != nil {
		return err
	}
	yesterday := date.Of(a.clock().Now(), installation.Zone).AddDays(-1)
	history := demo.History{
		Dates: date.Range{First: yesterday.AddDays(1 - c.Days), Last: yesterday}, Events: c.Events, Entities: c.Entities,
	}
	events, err := c.fill(ctx, a, conn, history)
	if err != nil {
		return err
	}

	if err := startBackfill(ctx, a, conn, history, events); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	both, bothCtx := errgroup.WithContext(ctx)
	databases := a.databases(conn, nil)
	defer databases.Close()
	views := &view.Engine{DB: conn, Databases: databases, Clock: a.testClock}
	if err := openShop(ctx, conn, views); err != nil {
		return err
	}
	worker, err := c.worker(a, conn, installation, views)
	if err != nil {
		return err
	}
	both.Go(func() error { return worker.Run(bothCtx) })
	if listener != nil {
		both.Go(func() error { return c.serveOn(bothCtx, a, conn, installation, listener, nil, sourceOptions{}) })
		defer a.alerting(bothCtx, conn, nil)()
	}
	err = c.show(bothCtx, a, conn, history, events)
	if err == nil && listener != nil {
		both.Go(func() error { return demo.Sell(bothCtx, conn, a.clock()) })
		a.printf("\nThe page is at http://%s%s/\n", listener.Addr(), c.BasePath)
		if c.AdminPassword != "" {
			a.printf("Log in as the user admin, with the password of DAYMILL_ADMIN_PASSWORD.\n")
		}
		a.printf("The worker and the page keep running; press Ctrl-C to end them%s.\n", c.farewell(a))
		<-bothCtx.Done()
	}
	stop()
	// If one of the two failed, that is why the report stopped early.
	if failed := both.Wait(); failed != nil {
		return failed
	}
	return err
}

// worker returns a worker that does not pause between statements.
func (*demoCmd) worker(a *app, conn *postgres.DB, installation schema.Installation, views *view.Engine) (*worker.Worker, error) {
	config := worker.DefaultConfig()
	config.DB, config.Installation, config.Name = conn, installation, processName()
	config.Version, config.Clock, config.Pace = versionString(), a.testClock, 0
	config.Logger, config.Capture, config.Views = a.logger(), a.capture(conn, views), views
	config.Listeners = telemetry.Listeners{telemetry.Log{Logger: config.Logger}}
	return worker.NewWorker(config)
}

// listen listens on the page's address before any work is done, or on any free port if another process uses the default
// one. It returns nil if the demo ends after its report.
func (c *demoCmd) listen(ctx context.Context) (net.Listener, error) {
	if c.Exit {
		return nil, nil //nolint:nilnil // The demo serves no page.
	}
	config := &net.ListenConfig{}
	listener, err := config.Listen(ctx, "tcp", c.address())
	if err != nil && c.Listen == "" {
		listener, err = config.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, usagef("cannot listen on %s: %w; give another --listen", c.address(), err)
	}
	return listener, nil
}

func (*demoCmd) farewell(a *app) string {
	if a.throwaway {
		return ", and to delete the database"
	}
	return ""
}

// throwaway starts a temporary Postgres, which is deleted when the demo ends.
func throwaway(ctx context.Context, a *app) (*pgserver.Server, error) {
	binaries, err := pgserver.Find(ctx)
	if err != nil {
		return nil, err
	}
	server, err := pgserver.Start(ctx, pgserver.Config{Binaries: binaries, Private: true})
	if err != nil {
		return nil, err
	}
	a.throwaway = true
	return server, nil
}

func (*demoCmd) install(ctx context.Context, conn *postgres.DB) (schema.Installation, error) {
	if err := demo.Check(ctx, conn); err != nil {
		return schema.Installation{}, usageError{err}
	}
	_, err := schema.Up(ctx, conn, schema.Options{
		EntityType: entity.Bigint,
		River:      worker.RiverMigrator(conn.Pool),
	})
	if err != nil {
		return schema.Installation{}, err
	}
	installation, err := schema.Get(ctx, conn)
	if err != nil {
		return schema.Installation{}, err
	}
	if err := source.Adopt(ctx, conn, installation); err != nil {
		return schema.Installation{}, err
	}
	exists, err := source.Exists(ctx, conn)
	if err == nil && !exists {
		err = source.Create(ctx, conn, installation, whoOnCLI())
	}
	return installation, err
}

func (c *demoCmd) fill(ctx context.Context, a *app, conn *postgres.DB, history demo.History) (int64, error) {
	a.printf("Making up the events of %s, %s to %s\n", plural(int64(c.Days), "day"), history.Dates.First, history.Dates.Last)
	meter := a.meter("events", int64(c.Days))
	defer meter.finish()
	return demo.Fill(ctx, conn, history, func(d date.Date) {
		meter.set(int64(d.Sub(history.Dates.First)+1), d.String())
	})
}

// startBackfill requests all dates. It must run before the worker starts, because the daily job would request them, too.
func startBackfill(ctx context.Context, a *app, conn *postgres.DB, history demo.History, events int64) error {
	a.printf("Rolling up %s events, day by day\n", number(events))
	return conn.Tx(ctx, func(tx pgx.Tx) error {
		_, _, err := backfill.Start(ctx, tx, backfill.Plan{
			Range: history.Dates, InFlight: worker.DefaultWorkers, EveryDate: true, By: "demo", Via: "cli",
		})
		return err
	})
}

// show watches the backfill, adds late events, and prints the report.
func (c *demoCmd) show(ctx context.Context, a *app, conn *postgres.DB, history demo.History, events int64) error {
	start := a.clock().Now()
	if err := c.watchBackfill(ctx, a, conn); err != nil {
		return err
	}
	took := a.clock().Now().Sub(start)
	queries := db.New(conn)
	totals, err := queries.DemoTotals(ctx, 0)
	if err != nil {
		return fmt.Errorf("add the runs up: %w", err)
	}
	lastRun, err := queries.DemoLastRun(ctx)
	if err != nil {
		return fmt.Errorf("find the last run: %w", err)
	}
	late, err := demo.Late(ctx, conn, history, max(1, c.Events/50))
	if err != nil {
		return err
	}
	if err := awaitDates(ctx, a, conn); err != nil {
		return err
	}
	repaired, err := queries.DemoTotals(ctx, lastRun)
	if err != nil {
		return fmt.Errorf("add the runs up: %w", err)
	}

	sums, err := demo.Sums(ctx, conn)
	if err != nil {
		return err
	}
	if sums.Counted != sums.Events {
		return fmt.Errorf("the counts add up to %d, not to the %d events: this is a bug", sums.Counted, sums.Events)
	}

	a.printf("\n  %-20s %s, %s to %s\n", "days", number(int64(c.Days)), history.Dates.First, history.Dates.Last)
	a.printf("  %-20s %s\n", "events", number(events))
	a.printf("  %-20s %s rows of metrics, one per day and entity\n", "entities", number(totals.RowsInserted))
	a.printf("  %-20s %s (%s events a second, without pauses)\n", "time", duration(took),
		number(int64(float64(totals.Events)/took.Seconds())))
	a.printf("  %-20s %.0f ms\n", "longest statement", totals.LongestStatementMs)
	a.printf("  %-20s %s arrived for %s; %s were corrected, all other rows stayed unchanged\n", "late events",
		number(int64(len(late)*max(1, c.Events/50))), plural(int64(len(late)), "day"),
		plural(repaired.RowsInserted+repaired.RowsUpdated, "row"))
	a.printf("  %-20s all counts add up to the %s events\n", "checked", number(sums.Events))
	c.suggest(a, history)
	return nil
}

func (*demoCmd) suggest(a *app, history demo.History) {
	a.printf("\nTry next, in another terminal:\n\n")
	if a.throwaway {
		a.printf("  export DATABASE_URL='%s'\n", a.DatabaseURL)
	}
	a.printf("  bin/daymill status\n")
	a.printf("  bin/daymill rollup %s\n", history.Dates.Last)
	a.printf("  psql \"$DATABASE_URL\" -c \"SELECT * FROM analytics.daily_entity_metrics_live WHERE entity_id = 1 ORDER BY metric_date DESC LIMIT 7\"\n")
	a.printf("  bin/daymill capture tail --table shop.orders    # a shop whose orders change every two seconds\n")
	a.printf("  psql \"$DATABASE_URL\" -c \"SELECT * FROM views.order_report ORDER BY order_id DESC LIMIT 5\"\n")
	a.printf("  psql \"$DATABASE_URL\" -c \"DELETE FROM raw_events WHERE entity_id = 1; SELECT analytics.enqueue_rollup('%s', '%s')\"\n",
		history.Dates.First, history.Dates.Last)
}

// watchEvery is how often the demo reads the worker's progress.
const watchEvery = 100 * time.Millisecond

func (*demoCmd) watchBackfill(ctx context.Context, a *app, conn *postgres.DB) error {
	latest, err := backfill.List(ctx, conn, 0, 1)
	if err != nil {
		return err
	}
	id := latest[0].ID
	meter := a.meter("rollup", latest[0].Dates)
	defer meter.finish()
	for {
		b, err := backfill.Get(ctx, conn, id)
		if err != nil {
			return err
		}
		meter.set(b.Done(), fmt.Sprintf("%d of %s", b.Done(), plural(b.Dates, "day")))
		if b.DatesFailed > 0 {
			return fmt.Errorf("%s failed: see `daymill status`", plural(b.DatesFailed, "day"))
		}
		if b.FinishedAt != nil {
			return nil
		}
		if err := a.clock().Sleep(ctx, watchEvery); err != nil {
			return err
		}
	}
}

// awaitDates waits until no request is open.
func awaitDates(ctx context.Context, a *app, conn *postgres.DB) error {
	for {
		open, err := db.New(conn).DemoOpen(ctx)
		if err != nil {
			return fmt.Errorf("look for requests: %w", err)
		}
		if open == 0 {
			return nil
		}
		if err := a.clock().Sleep(ctx, watchEvery); err != nil {
			return err
		}
	}
}

// withoutPassword returns a database's URL without its password.
func withoutPassword(text string) string {
	address, _, err := postgres.ForProgram(text)
	if err != nil {
		return postgres.Host(text)
	}
	return address
}
