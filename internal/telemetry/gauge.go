package telemetry

import "context"

// Gauge is a figure of how something stands. Unlike a [Metric], no signal changes it: it is read from the database.
type Gauge struct {
	Name, Help string
	Labels     []string
}

// Gauges is what a part of Daymill contributes to those who look every few seconds.
type Gauges struct {
	All []Gauge
	// Read reads the gauges with a few short statements. It returns a sample for each gauge and each combination of its labels' values.
	Read func(ctx context.Context) ([]Sample, error)
}

// Reading returns the sample of a gauge.
func Reading(gauge string, value float64, labels ...string) Sample {
	return Sample{Metric: gauge, Labels: labels, Value: value}
}

// Flag returns 1 if something is true, otherwise 0.
func Flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
