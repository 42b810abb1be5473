// Bench compares Daymill with the alternatives: on the same database, in the same run, in turns. It prints what each contender took and left
// behind, and the ratios between them with their spread, next to the targets. Every scenario ends by comparing the metrics with a recount.
//
//	make bench          all scenarios of the rollup, the archive and views, in about 25 minutes
//	make bench-large    the same with the days of ten million events
//	make bench-docs     bench, and writes docs/benchmarks.md and its plots
//	make bench-check    bench, and fails if a ratio is worse than the committed one by more than its margin
//	make bench-capture  capture instead of the rollup, against pg_recvlogical, a subscription, and COPY; bench-capture-docs writes its page
//
// Daymill is the real binary in separate processes. A missed target is not a failure, but metrics that are not exact are.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/daymill/daymill/internal/pace"
)

// options are the sizes, and where to measure.
type options struct {
	databaseURL string // empty means a new cluster
	binary      string // of Daymill; built if empty
	buffers     string // shared_buffers of the own cluster
	run         string

	events, entities, few int // of the large day; events draw from entities, some of which get none
	pages                 int // events of the day that is read in pages
	history               int // events of each of a hundred days
	backfill              int // events of each of thirty days
	rows                  int // of the CSV file
	requests, small       int
	rounds                int
	viewRows              int // orders that views join with customers
	viewDependants        int // orders of one customer

	loadRate    int // requests per second
	loadClients int
	workerCPUs  string // that Daymill's processes run on; all if empty
	large10     bool

	other    bool // the second cluster
	capture  bool // its scenarios instead of the rollup's
	changes  int  // of rows, in each turn of capture
	seconds  int  // of an application that captured changes are timed in
	snapshot int  // rows of the table that a snapshot reads
	bulk     int  // rows of the one transaction

	sustainFrom, sustainMost int // changes per second of the first step, and at most

	json, markdown, check, write, from string
}

func main() {
	var o options
	flag.StringVar(&o.databaseURL, "database-url", "", "a server to create databases on, as a superuser's URL; a new cluster if empty")
	flag.StringVar(&o.binary, "daymill", "", "the binary to measure; built from this tree if empty")
	flag.StringVar(&o.buffers, "shared-buffers", "128MB", "of the new cluster")
	flag.StringVar(&o.run, "run", "", "which scenarios, as first,rerun; all if empty: "+strings.Join(names(), ","))
	flag.IntVar(&o.events, "events", 1_000_000, "events of the large day")
	flag.IntVar(&o.entities, "entities", 340_000, "entities that the large day draws from; a fifth of them is never drawn")
	flag.IntVar(&o.few, "few", 20_000, "entities of the day with as many events of fewer entities")
	flag.IntVar(&o.pages, "pages-events", 100_000, "events of the day that is paged through by DISTINCT and LIMIT")
	flag.IntVar(&o.history, "history-events", 30_000, "events of each of the hundred days of the long history")
	flag.IntVar(&o.backfill, "backfill-events", 20_000, "events of each of the thirty days of the backfill")
	flag.IntVar(&o.rows, "rows", 300_000, "rows of the CSV file")
	flag.IntVar(&o.small, "small-dates", 1_000, "dates of about a hundred events that a worker takes one after another")
	flag.IntVar(&o.requests, "requests", 60, "requests of tiny dates whose latency is measured")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each contender has its turn")
	flag.IntVar(&o.viewRows, "view-rows", 300_000, "orders that views join with a tenth as many customers")
	flag.IntVar(&o.viewDependants, "view-dependants", 100_000, "orders of the customer whose name changes")
	flag.IntVar(&o.loadRate, "load-rate", 500, "requests per second of the application beside a rollup")
	flag.IntVar(&o.loadClients, "load-clients", 4, "connections of that application")
	flag.StringVar(&o.workerCPUs, "worker-cpus", "", "the processors that Daymill's processes run on, as taskset takes them: run the rest with taskset on others")
	flag.BoolVar(&o.capture, "capture", false, "the scenarios of capture instead of those of the rollup")
	flag.IntVar(&o.changes, "changes", 500_000, "changes of rows in each turn of capture; a fifth of them in transactions of one row")
	flag.IntVar(&o.seconds, "seconds", 20, "how long the application runs whose changes are timed")
	flag.IntVar(&o.snapshot, "snapshot-rows", 1_000_000, "rows of the table that a snapshot reads")
	flag.IntVar(&o.bulk, "bulk-rows", 1_000_000, "rows of the one transaction")
	flag.IntVar(&o.sustainFrom, "sustain-from", 2_000, "changes per second at first, which grow until a webhook is behind")
	flag.IntVar(&o.sustainMost, "sustain-most", 100_000, "changes per second at which they stop growing")
	flag.BoolVar(&o.large10, "large", false, "with days of ten million events: takes a quarter of an hour more")
	flag.StringVar(&o.json, "json", "", "a file to write the results to")
	flag.StringVar(&o.from, "from", "", "a file that -json wrote, whose results are printed and written instead of new ones")
	flag.StringVar(&o.markdown, "markdown", "", "a document between whose markers the results are written")
	flag.StringVar(&o.check, "check", "", "a file of ratios to compare with")
	flag.StringVar(&o.write, "write-ratios", "", "a file to write the ratios to, to be compared with later")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := benchmark(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func benchmark(ctx context.Context, o options, out io.Writer) (err error) {
	if o.from != "" {
		results, err := readResults(o.from)
		if err != nil {
			return err
		}
		printTargets(out, results)
		return keep(out, o, results)
	}
	chosen, err := choose(o.run, o.capture)
	if err != nil {
		return err
	}
	b, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close(ctx)) }()
	results, err := b.measure(ctx, chosen, out)
	if err != nil {
		return err
	}
	printTargets(out, results)
	return keep(out, o, results)
}

// measure runs scenarios one after another, and prints each when it is done.
func (b *bench) measure(ctx context.Context, chosen []scenario, out io.Writer) (Results, error) {
	results := Results{Machine: machine(ctx, b), Began: now().UTC().Truncate(time.Second)}
	for _, s := range chosen {
		b.meter.begin(s.name, s.steps(b))
		result, err := s.run(ctx, b)
		b.meter.end()
		if err != nil {
			return Results{}, fmt.Errorf("%s: %w", s.name, err)
		}
		result.Name, result.Title = s.name, s.title
		// A ratio that could not be measured has no target.
		result.Ratios = slices.DeleteFunc(result.Ratios, func(r Ratio) bool { return r.Value == Spread{} })
		printResult(out, result)
		results.Scenarios = append(results.Scenarios, result)
	}
	results.Took = now().Sub(results.Began).Round(time.Second).String()
	return results, nil
}

// now returns the machine's time, because the benchmark measures time.
func now() time.Time { return pace.SystemClock{}.Now() }

// sleep returns after d, or ctx's cause once ctx is done.
func sleep(ctx context.Context, d time.Duration) error { return pace.SystemClock{}.Sleep(ctx, d) }

// scenario is one comparison.
type scenario struct {
	name, title string
	steps       func(b *bench) int // about how often it calls meter.step
	run         func(ctx context.Context, b *bench) (Result, error)
}

// scenarios returns the scenarios in the order in which they run and are shown.
func scenarios() []scenario {
	rounds := func(each int) func(*bench) int { return func(b *bench) int { return each * (b.rounds + 1) } }
	all := []scenario{ //nolint:prealloc // The list is short.
		{"first", "First rollup of a day", rounds(2), first},
		{"few", "First rollup of a day with few entities", rounds(2), few},
		{"rerun", "Rerun with nothing changed", rounds(4), rerun},
		{"scan", "Scan phase against the bare aggregate", rounds(3), scan},
		{"changed", "Rerun with 1 % of the entities changed", rounds(3), changed},
		{"longest", "Longest statement", rounds(3), longest},
		{"pages", "Pages of entities", rounds(2), pages},
		{"foreground", "An application beside a rollup", rounds(4), foreground},
		{"history", "A history 100 times longer", rounds(20), history},
		{"tenfold", "Ten times the events", rounds(2), tenfold},
		{"workers", "Two workers on a backfill", rounds(3), workers},
		{"small", "A thousand small dates", rounds(3), small},
		{"latency", "From request to complete", func(b *bench) int { return b.requests }, latency},
		{"late", "From a late event to its row", func(b *bench) int { return b.requests }, late},
		{"distance", "Postgres far away", rounds(3), distance},
		{"crash", "A worker killed", func(*bench) int { return 3 }, crash},
		{"enqueue", "3,650 dates enqueued", rounds(2), enqueue},
		{"import", "Import of CSV", rounds(2), importCSV},
		{"archive", "The archive", func(b *bench) int { return 5 * b.rounds }, archiveTransactions},
	}
	return append(all, viewScenarios()...)
}

func names() (all []string) {
	for _, s := range append(scenarios(), captures()...) {
		all = append(all, s.name)
	}
	return all
}

func choose(list string, capture bool) ([]scenario, error) {
	all := scenarios()
	if capture {
		all = captures()
	}
	if list == "" {
		return all, nil
	}
	wanted := strings.Split(list, ",")
	for _, name := range wanted {
		if !slices.ContainsFunc(all, func(s scenario) bool { return s.name == name }) {
			return nil, fmt.Errorf("-run: there is no scenario %q here: there are %s, those of capture with -capture", name, strings.Join(names(), ", "))
		}
	}
	return slices.DeleteFunc(all, func(s scenario) bool { return !slices.Contains(wanted, s.name) }), nil
}
