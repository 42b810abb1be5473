package verification

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// DefaultSample is how many dates `daymill verify` takes if none are given, and DefaultDaily how many the periodic job takes a day,
// so that it verifies a year of dates in less than two months.
const (
	DefaultSample = 7
	DefaultDaily  = 7
)

// InRange returns the dates of a range that can be compared, because a run has completed them.
func InRange(ctx context.Context, conn *postgres.DB, within date.Range) (dates []date.Date, err error) {
	err = conn.Tx(ctx, func(tx pgx.Tx) error {
		dates, err = db.New(tx).VerificationDates(ctx, db.VerificationDatesParams{FirstDate: within.First, LastDate: within.Last})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for dates: %w", err)
	}
	return dates, nil
}

// Sample returns a random sample of the complete dates, in order, and how many complete dates there are. The same seed chooses the
// same dates.
func Sample(ctx context.Context, conn *postgres.DB, most int, seed int64) (dates []date.Date, of int64, err error) {
	err = conn.Tx(ctx, func(tx pgx.Tx) error {
		queries := db.New(tx)
		if of, err = queries.VerificationCandidates(ctx); err != nil {
			return err
		}
		dates, err = queries.VerificationSample(ctx, db.VerificationSampleParams{Seed: seed, MaxRows: int32(most)}) //nolint:gosec // An option, validated.
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("choose dates: %w", err)
	}
	return dates, of, nil
}

// MaxDates is how many dates one job may verify.
const MaxDates = 366

// Left returns the dates that were not verified since an instant, in order, so that a retried job continues where it stopped.
func Left(ctx context.Context, conn *postgres.DB, dates []date.Date, since time.Time) (left []date.Date, err error) {
	err = conn.Tx(ctx, func(tx pgx.Tx) error {
		left, err = db.New(tx).VerificationLeft(ctx, db.VerificationLeftParams{MetricDates: dates, Since: since})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for dates to verify: %w", err)
	}
	return left, nil
}

// Due returns complete dates, least recently verified first. It returns most dates, less those that were already verified via the
// given way since an instant, so that a retried job continues where it stopped.
func Due(ctx context.Context, conn *postgres.DB, most int, since time.Time, via string) (dates []date.Date, err error) {
	err = conn.Tx(ctx, func(tx pgx.Tx) error {
		queries := db.New(tx)
		done, err := queries.VerificationCount(ctx, db.VerificationCountParams{Since: since, RequestedVia: via})
		if err != nil || done >= int64(most) {
			return err
		}
		dates, err = queries.VerificationDue(ctx, db.VerificationDueParams{
			Since: &since, MaxRows: int32(int64(most) - done), //nolint:gosec // An option, validated.
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for dates to verify: %w", err)
	}
	return dates, nil
}
