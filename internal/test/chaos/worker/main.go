// Command worker is `daymill worker` for the fault harness: the same pools and the same worker.Worker, with a shorter silence until a run counts
// as dead, shorter backoffs, and a clock that may be wrong. The process ends when its standard input is closed.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/worker"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	err := work(ctx, logger, os.Stdin, os.Args[1:])
	stop()
	if err != nil {
		logger.Error("worker failed", slog.String("error", err.Error())) //nolint:sloglint // There is no context any more.
		os.Exit(1)
	}
}

func work(ctx context.Context, logger *slog.Logger, parent io.Reader, arguments []string) error {
	flags := flag.NewFlagSet("worker", flag.ContinueOnError)
	databaseURL := flags.String("database-url", "", "the database")
	sourceURL := flags.String("source-url", "", "a follower to read events from")
	config := worker.DefaultConfig()
	flags.IntVar(&config.Workers, "workers", config.Workers, "dates at a time")
	flags.IntVar(&config.MaxEntities, "max-entities", config.MaxEntities, "entities in memory")
	flags.IntVar(&config.SliceCounts, "slice-counts", 0, "counts of a slice")
	flags.Float64Var(&config.Pace, "pace", 0, "pauses as a multiple of statements")
	flags.DurationVar(&config.Silence, "silence", 0, "how long a run may give no sign of life before it counts as dead")
	backoff := flags.Duration("backoff", time.Second, "how long the first attempt's backoff is")
	wrong := flags.Duration("wrong", 0, "by how much the machine's clock is wrong")
	if err := flags.Parse(arguments); err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, parent)
		cancel() // The process that started this one has ended.
	}()
	config.Machine, config.Logger = wrongClock{wrong: *wrong}, logger
	// As River has it, but shorter.
	config.NextRetry = func(failed int) time.Time {
		return pace.SystemClock{}.Now().Add(time.Duration(failed*failed*failed*failed) * *backoff)
	}
	config.Name, config.Version = fmt.Sprintf("chaos/%d/%04x", os.Getpid(), rand.Uint32N(1<<16)), "chaos"

	var err error
	pool := config.Workers + 5 // As many as `daymill worker` has.
	config.DB, err = postgres.Open(ctx, postgres.Config{URL: *databaseURL, ApplicationName: "chaos worker", PoolSize: pool})
	if err != nil {
		return err
	}
	defer config.DB.Close()
	if config.Installation, err = schema.Get(ctx, config.DB); err != nil {
		return err
	}
	if *sourceURL != "" {
		follower, err := postgres.Open(ctx, postgres.Config{URL: *sourceURL, ApplicationName: "chaos source", PoolSize: pool})
		if err != nil {
			return err
		}
		defer follower.Close()
		config.Source = follower
	}
	worker, err := worker.NewWorker(config)
	if err != nil {
		return err
	}
	logger.InfoContext(ctx, "worker started", slog.String("name", config.Name))
	return worker.Run(ctx)
}

// wrongClock is the machine's clock with an error. Its monotonic clock has none, because nobody sets that.
type wrongClock struct {
	pace.SystemClock

	wrong time.Duration
}

var _ pace.Clock = wrongClock{}

func (c wrongClock) Now() time.Time { return c.SystemClock.Now().Add(c.wrong) }
