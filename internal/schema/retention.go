package schema

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/text"
)

// MaxMonths is the largest number of months that can be kept: a hundred years.
const MaxMonths = 1200

// Limits of a try to drop a month. Sessions that read or write metrics wait behind it for at most dropWait.
const (
	dropWait  = "200ms"
	dropTries = 30
	dropPause = time.Second
)

// Errors of SetRetention.
var (
	// ErrNotPartitioned says that months cannot be dropped.
	ErrNotPartitioned = errors.New("the metrics are not stored by month, so old ones cannot be dropped: docs/scale.md (Partitions of the metrics) " +
		"says how to convert them")
	// ErrDrops says that metrics would be lost at once.
	ErrDrops = errors.New("nothing can bring these metrics back once their events are gone: add --drop")
	// ErrMonths says that the number of months makes no sense.
	ErrMonths = errors.New("the number of months must be from 1 to 1200, or 0 to keep all")
)

// Retention is how long metrics are kept.
type Retention struct {
	// Months is how many whole months are kept besides the current one; 0 means all.
	Months int `json:"months"`
	// From is the first date whose metrics are kept; the zero date if all are.
	From date.Date `json:"from,omitzero"`
	// Partitioned reports whether metrics are stored by month.
	Partitioned bool `json:"partitioned"`
	// Old lists the months that are no longer kept and not yet dropped, oldest first.
	Old []Month `json:"-"`
}

// Month is a partition of the metrics.
type Month struct {
	Part  string // its name, quoted, with its schema
	Dates date.Range
	Rows  int64 // as Postgres estimates
	// Pending reports whether DETACH … CONCURRENTLY has begun and not ended. Only [DetachedMonths] sets it.
	Pending bool
}

// GetRetention returns how long metrics are kept.
func GetRetention(ctx context.Context, on postgres.DBTX) (Retention, error) {
	queries := db.New(on)
	kept, err := queries.MetricMonthsKept(ctx)
	if err != nil {
		return Retention{}, fmt.Errorf("read how long metrics are kept: %w", err)
	}
	rows, err := queries.MetricMonthsOld(ctx)
	if err != nil {
		return Retention{}, fmt.Errorf("look for old months of metrics: %w", err)
	}
	retention := Retention{Months: int(kept.Months), From: kept.FromDate, Partitioned: kept.Partitioned}
	for _, row := range rows {
		retention.Old = append(retention.Old, Month{
			Part: row.Part, Dates: date.Range{First: row.FirstDate, Last: row.NextDate.AddDays(-1)}, Rows: row.Rows,
		})
	}
	return retention, nil
}

// KeptFrom returns the first date whose metrics are kept; the zero date if all are.
func KeptFrom(ctx context.Context, on postgres.DBTX) (date.Date, error) {
	from, err := db.New(on).MetricMonthsFrom(ctx)
	if err != nil {
		return date.Date{}, fmt.Errorf("read how long metrics are kept: %w", err)
	}
	return from, nil
}

// DetachedMonths returns the months of metrics that somebody has detached and not dropped, oldest first. Nobody sees their metrics, and runs of
// their dates fail.
func DetachedMonths(ctx context.Context, on postgres.DBTX) (all []Month, err error) {
	rows, err := db.New(on).MetricMonthsDetached(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for detached months of metrics: %w", err)
	}
	for _, row := range rows {
		all = append(all, Month{
			Part: row.Part, Dates: date.Range{First: row.FirstDate, Last: row.NextDate.AddDays(-1)}, Rows: row.Rows, Pending: row.Pending,
		})
	}
	return all, nil
}

// DetachedText says what is wrong with a detached month.
func (m Month) DetachedText() string {
	if m.Pending {
		return m.Part + " is being detached from the metrics, or that was interrupted: nobody sees the metrics of its month, and runs of its dates fail"
	}
	return m.Part + " is detached from the metrics: nobody sees the metrics of its month, and runs of its dates fail"
}

// DetachedFix says what to do with a detached month.
func (m Month) DetachedFix() string {
	if m.Pending {
		return "ALTER TABLE analytics.daily_entity_metrics DETACH PARTITION " + m.Part + " FINALIZE; then attach or drop it, as `daymill doctor` says"
	}
	return m.AttachSQL() + " to keep these metrics, or DROP TABLE " + m.Part + "; if they are not needed"
}

// AttachSQL returns the statement that attaches a detached month again.
func (m Month) AttachSQL() string {
	return fmt.Sprintf("ALTER TABLE analytics.daily_entity_metrics ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s');",
		m.Part, m.Dates.First, m.Dates.Last.AddDays(1))
}

// SetRetention sets how many whole months of metrics are kept besides the current one; 0 means all. If that would drop months that are there, it
// returns ErrDrops unless drop is set. It drops nothing itself: see [DropMonths].
func SetRetention(ctx context.Context, conn *postgres.DB, months int, drop bool, who audit.Who) (retention Retention, err error) {
	if months < 0 || months > MaxMonths {
		return Retention{}, ErrMonths
	}
	err = locked(ctx, conn, func(tx pgx.Tx) error {
		if is, err := partitioned(ctx, tx); err != nil || !is && months > 0 {
			if err == nil {
				err = ErrNotPartitioned
			}
			return err
		}
		if err := db.New(tx).MetricMonthsKeep(ctx, int32(months)); err != nil { //nolint:gosec // At most 1200.
			return fmt.Errorf("set how long metrics are kept: %w", err)
		}
		if retention, err = GetRetention(ctx, tx); err != nil {
			return err
		}
		if len(retention.Old) > 0 && !drop {
			return fmt.Errorf("this would drop %s: %w", retention.OldText(), ErrDrops)
		}
		return writeRetention(ctx, tx, who, retention)
	})
	return retention, err
}

func writeRetention(ctx context.Context, tx pgx.Tx, who audit.Who, retention Retention) error {
	if who.Via == "" {
		return nil
	}
	target := "all months"
	if retention.Months > 0 {
		target = text.Plural(int64(retention.Months), "month")
	}
	return audit.Record(ctx, tx, audit.Entry{
		Who: who, Action: "set retention of metrics", Target: target, Detail: map[string]any{"drops": len(retention.Old)},
	})
}

// OldText says which months are no longer kept, and how many rows they have, as far as Postgres knows.
func (r Retention) OldText() string {
	if len(r.Old) == 0 {
		return "no month"
	}
	rows := int64(0)
	for _, month := range r.Old {
		rows += month.Rows
	}
	what := fmt.Sprintf("the metrics of %s, %s to %s", text.Plural(int64(len(r.Old)), "month"), r.Old[0].Dates.First, r.Old[len(r.Old)-1].Dates.Last)
	if rows <= 0 { // Postgres has no statistics yet.
		return what
	}
	return what + " (about " + text.Plural(rows, "row") + ")"
}

// DropMonths drops the months of metrics that are no longer kept, oldest first, and returns how many it has dropped. Each needs a lock on all
// metrics for an instant. DropMonths waits for it a fifth of a second at a time, so that nobody waits longer behind it, and gives up after half
// a minute of that.
func DropMonths(ctx context.Context, conn *postgres.DB, clock pace.Clock, who audit.Who) (dropped int, err error) {
	var retention Retention
	err = conn.Read(ctx, func(on postgres.DBTX) error {
		retention, err = GetRetention(ctx, on)
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, month := range retention.Old {
		var done bool
		for try := 1; ; try++ {
			done, err = dropMonth(ctx, conn, month, who)
			if !postgres.IsLockTimeout(err) || try == dropTries {
				break
			}
			if err := clock.Sleep(ctx, dropPause); err != nil {
				return dropped, err
			}
		}
		if err != nil {
			return dropped, fmt.Errorf("drop the metrics of %s to %s: %w", month.Dates.First, month.Dates.Last, err)
		}
		if done {
			dropped++
		}
	}
	return dropped, nil
}

func dropMonth(ctx context.Context, conn *postgres.DB, month Month, who audit.Who) (done bool, err error) {
	err = conn.Tx(ctx, func(tx pgx.Tx) error {
		if err := postgres.SetLocal(ctx, tx, postgres.Local{"lock_timeout": dropWait}); err != nil {
			return err
		}
		if done, err = db.New(tx).MetricMonthDrop(ctx, month.Part); err != nil || !done || who.Via == "" {
			return err
		}
		return audit.Record(ctx, tx, audit.Entry{
			Who: who, Action: "drop metrics", Target: month.Dates.First.String() + ".." + month.Dates.Last.String(),
			Detail: map[string]any{"partition": month.Part, "rows, estimated": month.Rows},
		})
	})
	return done, err
}
