package standing

import (
	"context"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
)

// Names of the gauges.
const (
	viewPaused  = "daymill_view_paused"
	viewDrift   = "daymill_view_open_drift"
	viewDiffers = "daymill_view_unrepaired_keys"
	viewFailing = "daymill_view_failing"
	viewWaiting = "daymill_view_waiting"
)

// Gauges returns the gauges of views.
func Gauges(conn *postgres.DB) telemetry.Gauges {
	labels := []string{"view"}
	return telemetry.Gauges{
		All: []telemetry.Gauge{
			{Name: viewPaused, Labels: labels, Help: "1 while the view is paused."},
			{Name: viewDrift, Labels: labels, Help: "Changes of the view's tables that somebody has to decide about."},
			{Name: viewDiffers, Labels: labels, Help: "Root keys that the last verification found different and did not repair."},
			{Name: viewFailing, Labels: labels, Help: "1 while a task of the view fails, or has failed and nothing has repaired that."},
			{Name: viewWaiting, Labels: labels, Help: "1 while nobody works on a task of the view that has been due for five minutes."},
		},
		Read: func(ctx context.Context) (samples []telemetry.Sample, err error) {
			facts, err := Read(ctx, conn)
			for _, v := range facts.Views {
				samples = append(samples,
					telemetry.Reading(viewPaused, telemetry.Flag(v.IsPaused), v.Name),
					telemetry.Reading(viewDrift, float64(v.OpenDrift), v.Name),
					telemetry.Reading(viewDiffers, float64(v.Differing), v.Name),
					telemetry.Reading(viewFailing, telemetry.Flag(v.Failing != "" || v.Failed != ""), v.Name),
					telemetry.Reading(viewWaiting, telemetry.Flag(v.IsWaiting), v.Name),
				)
			}
			return samples, err
		},
	}
}
