package checkup

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/schema"
)

// grace is how many days of a month the daily job has to drop a month of metrics.
const grace = 3

// lookAtRetention checks that months of metrics that are no longer kept are dropped, and that no month is detached.
func lookAtRetention(ctx context.Context, e *doctor.Examination, tx pgx.Tx) error {
	detached, err := schema.DetachedMonths(ctx, tx)
	if err != nil {
		return err
	}
	for _, month := range detached {
		e.Addf(doctor.Warning, "%s", month.DetachedText()).Fixf("%s", month.DetachedFix())
	}
	retention, err := schema.GetRetention(ctx, tx)
	if err != nil || retention.Months == 0 {
		return err
	}
	_, _, day := date.Of(e.Clock.Now(), e.Installation.Zone).Date()
	switch {
	case !retention.Partitioned:
		e.Addf(doctor.Failure, "metrics from before %s should be dropped, but the metrics are not stored by month any more", retention.From).
			Fixf("daymill migrate retention 0")
	case len(retention.Old) > 0 && day > grace:
		e.Addf(doctor.Warning, "the daily job has not dropped %s, which are no longer kept: see the last job of the kind prune_ledger", retention.OldText()).
			Fixf("daymill worker")
	case len(retention.Old) > 0:
		e.Addf(doctor.Note, "the daily job will drop %s", retention.OldText())
	default:
		e.Addf(doctor.OK, "metrics are kept from %s on", retention.From)
	}
	return nil
}
