package source

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// The shortest and the longest retention that can be recorded.
const (
	MinRetention = 24 * time.Hour
	MaxRetention = 100 * 366 * 24 * time.Hour
)

// SetRetention records how long the application keeps events; 0 means forever or unknown. Metrics of dates that begin earlier stay
// unchanged: see package protection. It returns ErrRefused if the retention is too short or too long. The audit records who; it
// records nothing if who.Via is empty.
func SetRetention(ctx context.Context, conn *postgres.DB, retention time.Duration, who audit.Who) error {
	return conn.Tx(ctx, func(tx pgx.Tx) error {
		if err := setRetention(ctx, tx, retention); err != nil {
			return err
		}
		return writeDown(ctx, tx, audit.Entry{Who: who, Action: "set retention", Target: retentionText(retention)})
	})
}

// retentionText returns a retention as text, in days if it is a whole number of days.
func retentionText(retention time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case retention == 0:
		return "for good"
	case retention%day == 0:
		return strconv.FormatInt(int64(retention/day), 10) + "d"
	default:
		return retention.String()
	}
}

func setRetention(ctx context.Context, tx pgx.Tx, retention time.Duration) error {
	if retention != 0 && (retention < MinRetention || retention > MaxRetention) {
		return refusef("the retention must be between a day and a hundred years: write it as 90d, or 0 for forever")
	}
	if err := db.New(tx).InstallationSetRetention(ctx, retention); err != nil {
		return fmt.Errorf("record the retention: %w", err)
	}
	return nil
}

// Retention returns how long the application keeps events; 0 if none is recorded.
func Retention(ctx context.Context, conn *postgres.DB) (retention time.Duration, err error) {
	err = conn.Tx(ctx, func(tx pgx.Tx) error {
		retention, err = db.New(tx).InstallationRetention(ctx)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read the retention: %w", err)
	}
	return retention, nil
}
