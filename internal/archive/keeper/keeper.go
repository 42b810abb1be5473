// Package keeper keeps an archive up to date: it runs the stream, makes a new base if transactions or a
// schema change are missing, and drops the slot before it fills the disk. Commands and workers run it.
//
//	stream ──fails──▶ again after a while
//	   │ the slot is gone, lost or was dropped ──▶ the gap is recorded ──▶ new slot, new base
//	   └ a change of the schema is missing ──────▶ the gap is recorded ──▶ new base, beside the stream
//
// Without event triggers, the keeper also compares the schema with its last version: every schema change is then missing.
package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/signal"
	"github.com/daymill/daymill/internal/archive/stream"
	"github.com/daymill/daymill/internal/capture/wal"
	"github.com/daymill/daymill/internal/telemetry"
)

const (
	// DefaultLimit is how much WAL the slot may hold back, in bytes.
	DefaultLimit = 16 << 30

	// retry is how long the keeper waits after an error, and guardEvery how often it checks the slot.
	retry      = 5 * time.Second
	guardEvery = 5 * time.Second
	// healthy is more than it takes to read the WAL again at which the server has failed.
	healthy = time.Minute
)

// Keeper keeps one archive. The fields after Config may be zero.
type Keeper struct {
	base.Config

	Size  int64         // see stream.Config
	Age   time.Duration // see stream.Config
	Limit int64         // bytes of WAL that the slot may hold back; DefaultLimit

	Listeners telemetry.Listeners
	Started   func() // called when the stream runs
}

// Run keeps the archive until ctx is done, and returns nil then. It returns an error if trying again does not help.
func (k *Keeper) Run(ctx context.Context) error {
	if k.Limit == 0 {
		k.Limit = DefaultLimit
	}
	manifest, err := chain.ReadManifest(ctx, k.Store)
	if errors.Is(err, chain.ErrNone) {
		return err
	}
	for err != nil {
		k.failed(ctx, err)
		if k.Clock.Sleep(ctx, retry) != nil {
			return nil
		}
		manifest, err = chain.ReadManifest(ctx, k.Store)
	}
	again := make(chan struct{}, 1) // a base is needed
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group.Go(func() { k.guard(ctx) })
	group.Go(func() { k.bases(ctx, again) })
	if manifest.Detection {
		group.Go(func() { k.detect(ctx, again) })
	}
	config := stream.Config{
		Source: k.Source, URL: k.URL, Store: k.Store, Clock: k.Clock, Size: k.Size, Age: k.Age,
		Started: func() {
			call(again)
			telemetry.Tell(ctx, k.Listeners, signal.Start{Database: manifest.Database})
			if k.Started != nil {
				k.Started()
			}
		},
		Sealed: func(seal segment.Seal) {
			telemetry.Tell(ctx, k.Listeners, signal.Seal{
				Position: seal.To, Transactions: seal.Transactions, Bytes: seal.File.Bytes, Text: seal.Text, LastCommit: seal.LastCommit,
			})
		},
		Lost: func(gap chain.Gap) {
			k.tell(ctx, gap)
			call(again)
		},
	}
	unreadable, reason := 0, "" // why the slot was dropped
	waits := false
	for {
		began := k.Clock.Now()
		waits = k.waits(ctx, manifest, waits)
		err := stream.Run(ctx, config)
		if !wal.IsUnreadable(err) || k.Clock.Now().Sub(began) > healthy {
			unreadable = 0
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, chain.ErrOther):
			return err
		case errors.Is(err, stream.ErrGap):
			if err = manifest.Present(ctx, k.Source); errors.Is(err, chain.ErrRemoved) {
				return err
			}
			if err == nil {
				err = k.begin(ctx, config, reason)
			}
			if err == nil {
				reason = ""
			}
		case errors.Is(err, stream.ErrOlder):
			reason = stream.ErrOlder.Error() // The slot belongs to another history.
			err = errors.Join(err, wal.DropSlot(ctx, k.Source, manifest.Slot))
		case wal.IsUnreadable(err):
			if unreadable++; unreadable == wal.MostUnreadable {
				reason = err.Error()
				err = errors.Join(err, wal.DropSlot(ctx, k.Source, manifest.Slot)) // Which is a gap.
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, stream.ErrBusy) && !errors.Is(err, base.ErrBusy) {
			k.failed(ctx, err)
		}
		if k.Clock.Sleep(ctx, retry) != nil {
			return nil
		}
	}
}

// waits tells, once, that another process archives the database, and reports whether one does. This process then waits for the slot.
func (k *Keeper) waits(ctx context.Context, manifest chain.Manifest, told bool) bool {
	slot, _, err := wal.FindSlot(ctx, k.Source, manifest.Slot)
	if err != nil {
		return told // The stream will fail, too.
	}
	if slot.Active && !told {
		telemetry.Tell(ctx, k.Listeners, signal.Wait{Database: manifest.Database})
	}
	return slot.Active
}

func call(again chan struct{}) {
	select {
	case again <- struct{}{}:
	default: // It was already called.
	}
}

func (k *Keeper) failed(ctx context.Context, err error) {
	telemetry.Tell(ctx, k.Listeners, signal.Error{Err: err})
}

func (k *Keeper) tell(ctx context.Context, gap chain.Gap) {
	telemetry.Tell(ctx, k.Listeners, signal.Gap{From: gap.From, Kind: gap.Kind, Reason: gap.Reason})
}

func (k *Keeper) based(ctx context.Context, made chain.Base, err error) {
	telemetry.Tell(ctx, k.Listeners, signal.Base{Position: made.Position, Reason: made.Reason, Bytes: made.Bytes(), Took: made.Took, Err: err})
}

// errJoined means that another keeper has begun a new chain.
var errJoined = errors.New("the archive has no gap any more")

// begin records the gaps and begins a new chain of segments. It records the gaps first, so that it can continue if it is killed in between.
func (k *Keeper) begin(ctx context.Context, config stream.Config, reason string) error {
	manifest, err := chain.ReadManifest(ctx, k.Store)
	if err != nil {
		return err
	}
	recorded := false
	_, made, err := base.Begin(ctx, k.Config, manifest, "a gap", func(ctx context.Context) error {
		err := k.record(ctx, config, reason)
		recorded = err == nil
		return err
	})
	if recorded {
		k.based(ctx, made, err)
	}
	if errors.Is(err, errJoined) {
		return nil
	}
	return err
}

// record records the gaps, unless there is none any more. Their reason is why the slot was dropped, if this process has dropped it.
func (k *Keeper) record(ctx context.Context, config stream.Config, reason string) error {
	cause := stream.Check(ctx, config)
	if cause == nil {
		return errJoined
	}
	if !errors.Is(cause, stream.ErrGap) {
		return cause
	}
	archive, err := chain.Read(ctx, k.Store)
	if err != nil {
		return err
	}
	codec, err := archive.Manifest.Codec()
	if err != nil {
		return err
	}
	if err := segment.Finish(ctx, k.Store, codec); err != nil {
		return err
	}
	if archive, err = chain.Read(ctx, k.Store); err != nil {
		return err
	}
	for _, gap := range archive.Missing(cmp.Or(reason, cause.Error())) {
		if err := chain.AddGap(ctx, k.Store, gap); err != nil {
			return err
		}
		k.tell(ctx, gap)
	}
	return nil
}

// bases makes a base whenever the archive cannot be restored to its end.
func (k *Keeper) bases(ctx context.Context, again <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
		}
		for ctx.Err() == nil {
			archive, err := chain.Read(ctx, k.Store)
			if err == nil && !archive.Gapped() {
				break
			}
			if err == nil {
				var made chain.Base
				made, err = base.Take(ctx, k.Config, "a change of the schema")
				if !errors.Is(err, base.ErrBusy) {
					k.based(ctx, made, err)
				}
			}
			if err != nil && k.Clock.Sleep(ctx, retry) != nil {
				return
			}
		}
	}
}

// guard drops the slot when it holds back too much WAL. The stream then notices that the slot is gone.
func (k *Keeper) guard(ctx context.Context) {
	for k.Clock.Sleep(ctx, guardEvery) == nil {
		if _, err := Guard(ctx, k.Config, k.Limit); err != nil && ctx.Err() == nil {
			k.failed(ctx, err)
		}
	}
}

// Guard drops the archive's slot if it holds back more WAL than the limit, or than half of max_slot_wal_keep_size. It reports
// whether it did.
func Guard(ctx context.Context, config base.Config, limit int64) (dropped bool, err error) {
	m, err := chain.ReadManifest(ctx, config.Store)
	if err != nil {
		return false, err
	}
	slot, has, err := wal.FindSlot(ctx, config.Source, m.Slot)
	if err != nil || !has {
		return false, err
	}
	limit, err = wal.Limit(ctx, config.Source, limit)
	if err != nil || slot.Retained <= limit {
		return false, err
	}
	if err := wal.DropSlot(ctx, config.Source, m.Slot); err != nil {
		return false, fmt.Errorf("the slot holds back %d MiB of WAL, more than the limit of %d MiB: %w", slot.Retained>>20, limit>>20, err)
	}
	return true, nil
}
