package telemetry

import "context"

// Gauge is a current value that is read from the database. Unlike a [Metric], no signal changes it.
type Gauge struct {
	Name, Help string
	Labels     []string
}

// Gauges are the gauges that one part of Daymill contributes to scrapes.
type Gauges struct {
	All []Gauge
	// Read reads the gauges with a few short statements. It returns a sample for each gauge and each combination of its labels' values.
	Read func(ctx context.Context) ([]Sample, error)
}

// Reading returns a sample of a gauge.
func Reading(gauge string, value float64, labels ...string) Sample {
	return Sample{Metric: gauge, Labels: labels, Value: value}
}

// Flag returns 1 for true and 0 for false.
func Flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
