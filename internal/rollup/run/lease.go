package run

import (
	"context"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
)

// lease is what makes a date this run's: the row of the date names the run by its number and by a random token, belongs to
// the life of the database in which the run began, and counts the run's signs of life. A number alone can come twice, for an
// older copy of the database takes the sequence back; in such a copy the run has another token, or has given fewer signs of
// life than it knows of.
type lease struct {
	date  date.Date
	run   int64
	token pgtype.UUID
	// signs is how many signs of life are known to be committed, batches left out. A commit whose answer was lost is not
	// among them, so the row may count one more.
	signs int64
}

// fence fails with ErrFenced unless the date is still this run's. In a transaction, it keeps another run from beginning
// before its end.
func (l lease) fence(ctx context.Context, queries *db.Queries, batches int) error {
	return fenced(queries.DateHeartbeat(ctx, db.DateHeartbeatParams{
		MetricDate: l.date, RunID: l.run, Token: l.token, Beat: l.beat(batches),
	}))
}

// beat is how often the row must have been written by this run, at the least.
func (l lease) beat(batches int) int64 { return l.signs + int64(batches) }

func fenced(rows int64, err error) error {
	if err == nil && rows == 0 {
		return ErrFenced
	}
	return err
}
