package worker

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/signal"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
)

const (
	// streamsEvery is how often a worker lists the streams.
	streamsEvery = 3 * time.Second
	// sourceRetry is how long a worker waits before it tries again to open a stream's database.
	sourceRetry = 10 * time.Second
)

// streams holds a goroutine for each stream that a worker owns or waits to own.
type streams struct {
	db      *postgres.DB
	capture *Capture
	clock   pace.Clock
	logger  *slog.Logger
	process string
	owned   map[stream.Place]ownedStream
	// listeners are told what happens to streams.
	listeners telemetry.Listeners
}

type ownedStream struct {
	stop context.CancelFunc
	done chan struct{}
}

// landing rings a bell when changes have landed.
type landing struct{ bell *bell }

// Listen rings.
func (l landing) Listen(ctx context.Context, one telemetry.Signal) context.Context {
	if land, is := one.(signal.Land); is && land.Err == nil {
		l.bell.ring()
	}
	return ctx
}

// own owns all streams, or waits to own them, until ctx is done.
func (r *reconciler) own(ctx context.Context, capture *Capture) {
	s := &streams{
		db: r.db, capture: capture, clock: r.clock, logger: r.logger, process: r.self.Name, owned: map[stream.Place]ownedStream{},
		listeners: append(slices.Clone(r.listeners), landing{&r.landed}),
	}
	defer func() {
		for place := range s.owned {
			s.end(place)
		}
	}()
	for {
		if err := s.look(ctx); err != nil && ctx.Err() == nil {
			s.logger.WarnContext(ctx, "cannot list the streams", slog.String("error", err.Error()))
		}
		if s.clock.Sleep(ctx, streamsEvery) != nil {
			return
		}
	}
}

// look starts owners of new streams, and ends the owners of streams that were removed or are now in another database.
func (s *streams) look(ctx context.Context) error {
	var places []stream.Place
	err := s.db.Read(ctx, func(on postgres.DBTX) (err error) {
		places, err = stream.Wanted(ctx, on)
		return err
	})
	if err != nil {
		return err
	}
	wanted := map[stream.Place]bool{}
	for _, place := range places {
		wanted[place] = true
	}
	for place := range s.owned {
		if !wanted[place] {
			s.end(place)
		}
	}
	for place := range wanted {
		if _, has := s.owned[place]; has {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		one := ownedStream{stop: cancel, done: make(chan struct{})}
		s.owned[place] = one
		go func() {
			defer close(one.done)
			s.run(ctx, place)
		}()
	}
	return nil
}

func (s *streams) end(place stream.Place) {
	one := s.owned[place]
	delete(s.owned, place)
	one.stop()
	<-one.done
}

// run owns one stream. If its database cannot be opened, run records why, unless another process reads the stream.
func (s *streams) run(ctx context.Context, place stream.Place) {
	for ctx.Err() == nil {
		source, url, err := s.capture.Source(ctx, place)
		if err == nil {
			err = s.read(ctx, place, source, url)
		} else {
			s.refuse(ctx, place, err)
		}
		if ctx.Err() == nil {
			telemetry.Tell(ctx, s.listeners, signal.StreamError{Stream: place.Name, Err: err})
			_ = s.clock.Sleep(ctx, sourceRetry) // It only fails if ctx is done.
		}
	}
}

func (s *streams) read(ctx context.Context, place stream.Place, source *postgres.DB, url string) error {
	if source != s.db {
		defer source.Close()
	}
	owner := stream.Owner{
		DB: s.db, Source: source, SourceURL: url, Name: place.Name, Process: s.process, Clock: s.clock,
		Limit: s.capture.WALLimit, Retention: s.capture.Retention, Hold: s.capture.Hold,
		Failed: func(ctx context.Context, err error) {
			telemetry.Tell(ctx, s.listeners, signal.StreamError{Stream: place.Name, Err: err})
		},
		Listeners: s.listeners,
	}
	return owner.Run(ctx)
}

func (s *streams) refuse(ctx context.Context, place stream.Place, cause error) {
	err := s.db.Tx(ctx, func(tx pgx.Tx) error { return stream.Refuse(ctx, tx, place.Name, cause) })
	if err != nil && ctx.Err() == nil {
		s.logger.WarnContext(ctx, "cannot record why a stream is not read", slog.String("stream", place.Name), slog.String("error", err.Error()))
	}
}
