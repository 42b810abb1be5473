// Load keeps Daymill busy while writers change events as fast as the machine allows, and judges the result: whether the last minutes are as fast
// as earlier ones, whether the workers' memory, the dead rows of queue and ledger and the connections stay within bounds, and whether the
// metrics equal a recount in the end.
//
//	make load                          ten minutes, eight writers, two worker processes
//	make load DURATION=90s WRITERS=4   less of it
//
// The workers are processes of the real binary, on a new cluster with Postgres's default settings for fsync and autovacuum. The exit code is 1 if
// a verdict is bad.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/daymill/daymill/internal/pace"
)

// options are the sizes.
type options struct {
	duration  time.Duration
	every     time.Duration // between samples
	writers   int
	processes int    // of workers
	dates     int    // with late events
	events    int    // of each late date
	binary    string // of Daymill; built if empty
}

// samplesPerThird is the minimum number of samples in a third of the time: peaks of fewer mean little.
const samplesPerThird = 3

// errBad says that a verdict is bad. The verdicts were printed before.
var errBad = errors.New("a verdict is bad")

func main() {
	var o options
	flag.DurationVar(&o.duration, "duration", 10*time.Minute, "how long the writers write")
	flag.DurationVar(&o.every, "every", 10*time.Second, "how often a sample is taken; more often if the duration is short")
	flag.IntVar(&o.writers, "writers", 8, "connections that change events, each as fast as it can")
	flag.IntVar(&o.processes, "workers", 2, "worker processes")
	flag.IntVar(&o.dates, "dates", 14, "dates before today that get late events")
	flag.IntVar(&o.events, "events", 20_000, "events of each of them")
	flag.StringVar(&o.binary, "daymill", "", "the binary; built from this tree if empty")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := load(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// check returns an error for invalid sizes, and shortens the interval of samples if needed.
func (o *options) check() error {
	if o.duration < 10*time.Second || o.writers < 1 || o.processes < 1 || o.dates < 1 || o.events < 1 || o.every < time.Second {
		return errors.New("give a duration of 10s or more, at least a second between samples, and at least one of the others")
	}
	o.every = min(o.every, (o.duration / (3 * samplesPerThird)).Truncate(100*time.Millisecond))
	return nil
}

// load runs the whole load test.
func load(ctx context.Context, o options, out io.Writer) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	s, err := newSite(ctx, o)
	defer func() { err = errors.Join(err, s.close()) }() //nolint:contextcheck // It is temporary, also when ctx is done.
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d writers and %d worker processes for %s on Postgres %s; a sample every %s\n\n",
		o.writers, o.processes, o.duration, s.server.Binaries.Version, o.every)
	report := newReport(out)
	samples, err := s.write(ctx, report.row)
	if err != nil {
		return err
	}
	end, err := s.quiet(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(out)
	report.tables(samples)
	if err := report.complaints(s.workers); err != nil {
		return err
	}
	if bad := report.verdicts(judge(samples, end)); bad > 0 {
		return fmt.Errorf("%w (%d of them)", errBad, bad)
	}
	return nil
}

// now returns the machine's time, because the load test measures time.
func now() time.Time { return pace.SystemClock{}.Now() }

// sleep returns after d, or ctx's cause once ctx is done.
func sleep(ctx context.Context, d time.Duration) error { return pace.SystemClock{}.Sleep(ctx, d) }
