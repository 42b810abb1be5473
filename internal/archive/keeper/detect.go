package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/ddl"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/signal"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/telemetry"
)

const (
	// detectEvery is how often the keeper compares the schema with its last version, and keepEvery how often
	// it writes the version to the archive.
	detectEvery = 5 * time.Second
	keepEvery   = time.Minute
)

// seen is a version of the schema that the database had at a position and a time. Nothing that was committed
// before changed it.
type seen struct {
	Version  string    `json:"version"`
	Position string    `json:"position"`
	At       time.Time `json:"at"`
}

// detection notices schema changes by their versions. See [ddl.Version].
type detection struct {
	reader chain.Reader
	// sure is older than last: a transaction becomes visible a moment after its position, so last may not include it.
	sure, last seen
	kept       time.Time
}

// detect records a gap when the schema has changed, and requests a base, which publishes new tables.
func (k *Keeper) detect(ctx context.Context, again chan struct{}) {
	d := &detection{}
	for {
		if err := d.look(ctx, k, again); err != nil && ctx.Err() == nil {
			telemetry.Tell(ctx, k.Listeners, signal.Error{Err: err})
		}
		if k.Clock.Sleep(ctx, detectEvery) != nil {
			return
		}
	}
}

func (d *detection) look(ctx context.Context, k *Keeper, again chan struct{}) error {
	archive, err := d.reader.Read(ctx, k.Store)
	if err != nil || len(archive.Bases) == 0 || archive.Gapped() {
		return err // A base follows.
	}
	if d.sure.Version == "" {
		if err := k.Store.ReadJSON(ctx, chain.SchemaName, &d.sure); err != nil && !errors.Is(err, store.ErrMissing) {
			return err
		}
		d.last = d.sure
	}
	if b := archive.Bases[len(archive.Bases)-1]; b.Position > d.sure.Position {
		d.sure = seen{Version: b.Schema, Position: b.Position, At: b.At}
		d.last = d.sure
	}
	var lsn string
	var now seen
	if err := k.Source.QueryRow(ctx, "SELECT pg_catalog.pg_current_wal_lsn()::text, pg_catalog.clock_timestamp()").Scan(&lsn, &now.At); err != nil {
		return fmt.Errorf("read the position of the schema's version: %w", err)
	}
	position, err := pglogrepl.ParseLSN(lsn)
	if err != nil {
		return fmt.Errorf("read the position of the schema's version: %w", err)
	}
	now.Position = segment.LSN(position)
	if now.Version, err = ddl.Version(ctx, k.Source); err != nil {
		return err
	}
	if now.Version != d.sure.Version {
		gap := chain.Gap{From: d.sure.Position, At: d.sure.At.UTC(), Kind: chain.GapSchema, Reason: "the schema has changed, and the role may not create the event triggers that archive changes"}
		if err := chain.AddGap(ctx, k.Store, gap); err != nil {
			return err
		}
		k.tell(ctx, gap)
		call(again)
		return nil
	}
	d.sure, d.last = d.last, now
	if now.At.Sub(d.kept) < keepEvery {
		return nil
	}
	d.kept = now.At
	return k.Store.PutJSON(ctx, chain.SchemaName, d.sure)
}
