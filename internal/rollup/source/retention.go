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

// The shortest and the longest that an application may be said to keep events.
const (
	MinRetention = 24 * time.Hour
	MaxRetention = 100 * 366 * 24 * time.Hour
)

// SetRetention records how long the application keeps events; 0 says that it is not known, or for good. Metrics of dates
// that begin earlier than that stay as they are: see package protection. ErrRefused says that it is too short or too long. Who
// says so is for the audit, in which nothing is written where Via is empty.
func SetRetention(ctx context.Context, conn *postgres.DB, retention time.Duration, who audit.Who) error {
	return conn.Tx(ctx, func(tx pgx.Tx) error {
		if err := setRetention(ctx, tx, retention); err != nil {
			return err
		}
		return writeDown(ctx, tx, audit.Entry{Who: who, Action: "set retention", Target: retentionText(retention)})
	})
}

// retentionText writes how long events are kept, in days where they are whole.
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
		return refusef("events are kept for a day at least and a hundred years at most, such as 90d; 0 says that it is not known")
	}
	if err := db.New(tx).InstallationSetRetention(ctx, retention); err != nil {
		return fmt.Errorf("record the retention: %w", err)
	}
	return nil
}

// Retention is how long the application keeps events; 0 where nobody has said so.
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
