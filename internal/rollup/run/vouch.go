package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/replay"
)

// mostScans is how often a pass is scanned if the server is restarted during each scan.
const mostScans = 5

var errRestarts = errors.New("during each scan of the date Postgres was restarted, so what was read may be of another copy of the database")

// servers are when the primary and the follower, if there is one, were started.
type servers struct{ primary, source time.Time }

// vouch reports whether what was read since the last call is in the database that is written to. An older copy of the data
// directory, taken after the run's last sign of life, has every sign of life and lacks events that were read since. It can
// replace the newer one only while the server is stopped, so vouch compares when the server was started. The sign of life that
// it writes is what a copy lacks that replaces the database later.
func (a *active) vouch(ctx context.Context) (steady bool, err error) {
	var now servers
	err = a.held(ctx, func(ctx context.Context, queries *db.Queries) (err error) {
		now.primary, err = queries.DateServer(ctx)
		return err
	})
	if err == nil && a.pair.Follows() {
		now.source, err = a.sourceServer(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("ask when the server was started: %w", err)
	}
	steady = now.primary.Equal(a.servers.primary) && now.source.Equal(a.servers.source)
	a.servers = now
	return steady, nil
}

// sourceServer returns when the follower was started. It fails if the follower no longer follows.
func (a *active) sourceServer(ctx context.Context) (startedAt time.Time, err error) {
	var server db.ReplayServerRow
	err = a.pair.Source.Read(ctx, ledgerLimit, func(ctx context.Context, on postgres.DBTX) (err error) {
		server, err = db.New(on).ReplayServer(ctx)
		return err
	})
	if err == nil && !server.InRecovery { // What it accepts since it was promoted is not in the database that is written to.
		err = replay.ErrPrimary
	}
	return server.StartedAt, err
}

// follow waits for the follower, if there is one. It notes first when that was started: see vouch.
func (a *active) follow(ctx context.Context) (err error) {
	if !a.pair.Follows() {
		return nil
	}
	if a.servers.source, err = a.sourceServer(ctx); err != nil {
		return fmt.Errorf("ask when the follower was started: %w", err)
	}
	return replay.Follow(ctx, a.pair, a.Clock, a.signOfLife)
}
