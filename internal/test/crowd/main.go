// Crowd measures what worker processes cost Postgres: how many connections they hold, what an idle one asks, and how the time of a backlog of
// dates divides between the queue, the reconciler, and the work itself, as the number of processes grows.
//
//	go run ./internal/test/crowd                     one, three and ten workers: a minute each, and sixty dates
//	go run ./internal/test/crowd -workers 1,20 -pace 0
//
// The workers are processes of the real binary beside a new cluster on this machine, so they share its processors. The output is Markdown.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/daymill/daymill/internal/pace"
)

// options are the sizes.
type options struct {
	workers string
	pace    string
	idle    time.Duration
	dates   int
	events  int // of each date
	binary  string
}

func main() {
	var o options
	flag.StringVar(&o.workers, "workers", "1,3,10", "how many worker processes, one measurement after another")
	flag.StringVar(&o.pace, "pace", "", "the workers' --pace; its default if empty")
	flag.DurationVar(&o.idle, "idle", time.Minute, "how long idle workers are watched")
	flag.IntVar(&o.dates, "dates", 60, "dates of the backlog")
	flag.IntVar(&o.events, "events", 10_000, "events of each of them")
	flag.StringVar(&o.binary, "daymill", "", "the binary; built from this tree if empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := crowd(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "crowd:", err)
		os.Exit(1)
	}
}

var errSizes = errors.New("give numbers of workers from 1 to 30, at least a second, and at least one date and one event")

func (o options) numbers() (all []int, err error) {
	for text := range strings.SplitSeq(o.workers, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 30 {
			return nil, errSizes
		}
		all = append(all, n)
	}
	if o.idle < time.Second || o.dates < 1 || o.events < 1 {
		return nil, errSizes
	}
	return all, nil
}

// crowd takes all measurements and prints them.
func crowd(ctx context.Context, o options, out io.Writer) (err error) {
	numbers, err := o.numbers()
	if err != nil {
		return err
	}
	s := &site{options: o}
	defer func() { err = errors.Join(err, s.close()) }() //nolint:contextcheck // It is temporary, also when ctx is done.
	if err := s.open(ctx); err != nil {
		return err
	}
	results := make([]result, 0, len(numbers))
	for _, n := range numbers {
		one, err := s.measure(ctx, n)
		if err != nil {
			return fmt.Errorf("%d workers: %w", n, err)
		}
		results = append(results, one)
	}
	report(out, o, results)
	return nil
}

// now returns the machine's time, because this program measures time.
func now() time.Time { return pace.SystemClock{}.Now() }

// sleep returns after d, or ctx's cause once ctx is done.
func sleep(ctx context.Context, d time.Duration) error { return pace.SystemClock{}.Sleep(ctx, d) }
