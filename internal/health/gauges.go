package health

import (
	"context"

	"github.com/daymill/daymill/internal/telemetry"
)

const healthFindings = "daymill_health_findings"

// Gauges returns how many findings there are that need somebody or time. Read returns all findings.
func Gauges(read func(ctx context.Context) ([]Finding, error)) telemetry.Gauges {
	return telemetry.Gauges{
		All: []telemetry.Gauge{{
			Name: healthFindings, Labels: []string{"level"},
			Help: "What `daymill status` finds, by level: bad keeps dates from being right, wait needs a person or time.",
		}},
		Read: func(ctx context.Context) ([]telemetry.Sample, error) {
			findings, err := read(ctx)
			if err != nil {
				return nil, err
			}
			var samples []telemetry.Sample
			for _, level := range []Level{Bad, Wait} {
				samples = append(samples, telemetry.Reading(healthFindings, float64(Count(findings, level)), string(level)))
			}
			return samples, nil
		},
	}
}
