// Package load reads what the database has to do besides Daymill, for [pace.Governor].
package load

import (
	"context"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
)

// Governor returns a governor of the pace of work in a database; least is the least pace. Call its Run beside the work.
func Governor(on *postgres.DB, clock pace.Clock, least float64) *pace.Governor {
	return pace.NewGovernor(clock, least, func(ctx context.Context) (pace.Load, error) { return Look(ctx, on) })
}

// Look looks at the database once.
func Look(ctx context.Context, database *postgres.DB) (pace.Load, error) {
	var row db.PaceLoadRow
	err := database.Read(ctx, func(on postgres.DBTX) (err error) {
		row, err = db.New(on).PaceLoad(ctx)
		return err
	})
	if err != nil {
		return pace.Load{}, fmt.Errorf("look at the load: %w", err)
	}
	return pace.Load{
		Recent: int(row.Recent), Waiting: int(row.Waiting), Hidden: int(row.Hidden),
		WAL: row.Wal, WALRate: row.WalRate, Lag: seconds(row.LagSeconds), Took: seconds(row.TookSeconds),
	}, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
