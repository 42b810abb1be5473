package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// contender is one way to compute the metrics.
type contender struct {
	name  string
	table pgx.Identifier // where it writes; nil if it writes nothing
	// prepare runs before each turn and is not timed; may be nil.
	prepare func(ctx context.Context) error
	// run takes a turn on the database of the URL. Figures that are not in its sample are measured from outside.
	run func(ctx context.Context, url string) (sample, error)
}

// turns gives every contender a turn in each round, and begins each round with another contender. An extra round before that goes through
// the proxy, to count the bytes over the wire, and is not timed. prepare runs before each round.
func (b *bench) turns(
	ctx context.Context, db *database, prepare func(ctx context.Context, round int) error, contenders ...contender,
) (samples, error) {
	all := samples{}
	onWire := map[string]float64{}
	through, err := b.proxy.through(db.url)
	if err != nil {
		return nil, err
	}
	for round := range b.rounds + 1 {
		if prepare != nil {
			if err := prepare(ctx, round); err != nil {
				return nil, err
			}
		}
		for i := range contenders {
			c := contenders[(i+round)%len(contenders)]
			b.meter.step(c.name)
			if round == 0 {
				before := b.proxy.bytes.Load()
				if _, err := db.turn(ctx, c, through); err != nil {
					return nil, fmt.Errorf("%s: %w", c.name, err)
				}
				onWire[c.name] = float64(b.proxy.bytes.Load() - before)
				continue
			}
			one, err := db.turn(ctx, c, db.url)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			one[wire] = onWire[c.name]
			all[c.name] = append(all[c.name], one)
		}
	}
	return all, nil
}

// turn measures one turn. Before it begins, what the previous turn has left behind is cleaned up and written to disk.
func (db *database) turn(ctx context.Context, who contender, url string) (sample, error) {
	if who.prepare != nil {
		if err := who.prepare(ctx); err != nil {
			return nil, err
		}
	}
	// A session reports its table statistics when it ends, or once in a while, which must not be after the cleaning. The pool has one
	// connection, so Reset ends it. Without INDEX_CLEANUP a few dead rows would be left, and counted in the next turn.
	db.Reset()
	if who.table != nil {
		if err := db.exec(ctx, "VACUUM (ANALYZE, INDEX_CLEANUP ON) "+who.table.Sanitize()); err != nil {
			return nil, err
		}
	}
	if err := db.exec(ctx, "CHECKPOINT -- before a turn"); err != nil {
		return nil, err
	}
	if db.tracks {
		if err := db.exec(ctx, "SELECT pg_stat_statements_reset()"); err != nil {
			return nil, err
		}
	}
	var from string
	if err := db.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&from); err != nil {
		return nil, err
	}
	began := now()
	got, err := who.run(ctx, url)
	took := milliseconds(now().Sub(began))
	if err != nil {
		return nil, err
	}
	if got == nil {
		got = sample{}
	}
	if _, has := got[wall]; !has {
		got[wall] = took
	}
	if err := db.after(ctx, who, from, got); err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	return got, nil
}

// after adds the figures of a turn that the server has.
func (db *database) after(ctx context.Context, who contender, from string, got sample) error {
	var bytes float64
	err := db.QueryRow(ctx, "SELECT (pg_current_wal_insert_lsn() - $1::text::pg_lsn)::float8", from).Scan(&bytes)
	if err != nil {
		return err
	}
	got[wal] = bytes
	if db.tracks {
		var read, dirty float64
		err := db.QueryRow(ctx, `
			SELECT coalesce(sum(shared_blks_read), 0)::float8, coalesce(sum(shared_blks_dirtied), 0)::float8 FROM pg_stat_statements
			WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&read, &dirty)
		if err != nil {
			return err
		}
		got[reads], got[dirtied] = read, dirty
	}
	if who.table == nil {
		return nil
	}
	// The turn's session has ended, so it has reported.
	var rows float64
	err = db.QueryRow(ctx, "SELECT n_dead_tup::float8 FROM pg_stat_user_tables WHERE relid = $1::text::regclass", who.table.Sanitize()).
		Scan(&rows)
	got[dead] = rows
	return err
}
