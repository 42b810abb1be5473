package main

import (
	"slices"
	"time"
)

// Results are the results of a run of the benchmark.
type Results struct {
	Machine   Machine   `json:"machine"`
	Began     time.Time `json:"began"`
	Took      string    `json:"took"`
	Scenarios []Result  `json:"scenarios"`
}

// Result is the result of a scenario.
type Result struct {
	Name   string   `json:"name"`
	Title  string   `json:"title"`
	Notes  []string `json:"notes,omitempty"` // sentences
	Rows   []Row    `json:"rows"`
	Ratios []Ratio  `json:"ratios"`
}

// Row is what a contender took and left behind, by column.
type Row struct {
	Contender string            `json:"contender"`
	Values    map[string]Spread `json:"values"`
}

// Spread is the median of several rounds, with the lowest and the highest.
type Spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// Ratio is a figure that may have a target: a ratio of two contenders within each round or, if it has a unit, a figure of Daymill.
type Ratio struct {
	ID      string  `json:"id"`
	What    string  `json:"what"`
	Value   Spread  `json:"value"`
	Unit    string  `json:"unit,omitempty"`
	Target  float64 `json:"target"`             // 0 if there is none
	AtLeast bool    `json:"at_least,omitempty"` // the target is a minimum, not a maximum
	Worst   bool    `json:"worst,omitempty"`    // the worst round counts, not the median
}

// Figure returns the value to compare with the target.
func (r Ratio) Figure() float64 {
	switch {
	case r.Worst && r.AtLeast:
		return r.Value.Low
	case r.Worst:
		return r.Value.High
	default:
		return r.Value.Median
	}
}

// Met reports whether the figure meets its target.
func (r Ratio) Met() bool {
	if r.AtLeast {
		return r.Figure() >= r.Target
	}
	return r.Figure() <= r.Target
}

// sample is what one turn of a contender took, by column. It lacks figures that were not measured.
type sample map[string]float64

// Keys of samples. Times are in milliseconds.
const (
	wall    = "wall"
	lasted  = "longest"
	wal     = "wal"
	reads   = "read"
	dirtied = "dirtied"
	dead    = "dead"
	memory  = "memory"
	wire    = "wire"
	scanned = "scan"
	rate    = "rate"
	written = "write"
	p50     = "p50"
	p99     = "p99"
	worst   = "worst"
)

// with adds a process's peak memory, if it is known.
func (s sample) with(peak int64) sample {
	if peak > 0 {
		s[memory] = float64(peak)
	}
	return s
}

// samples are the samples of each contender, one per round.
type samples map[string][]sample

// spread returns the spread of values.
func spread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return Spread{Median: median, Low: sorted[0], High: sorted[len(sorted)-1]}
}

// of returns the spread of one key of a contender.
func (s samples) of(contender, key string) Spread {
	values := make([]float64, 0, len(s[contender]))
	for _, one := range s[contender] {
		if v, has := one[key]; has {
			values = append(values, v)
		}
	}
	return spread(values)
}

// ratio returns the spread of the ratios of two contenders for one key, taken within each round.
func (s samples) ratio(key, contender, against string) Spread {
	var values []float64
	for i := range min(len(s[contender]), len(s[against])) {
		if other := s[against][i][key]; other > 0 {
			values = append(values, s[contender][i][key]/other)
		}
	}
	return spread(values)
}

// rows returns the samples as rows, in the order of the contenders.
func (s samples) rows(contenders ...string) []Row {
	rows := make([]Row, 0, len(contenders))
	for _, name := range contenders {
		row := Row{Contender: name, Values: map[string]Spread{}}
		for _, one := range s[name] {
			for key := range one {
				row.Values[key] = s.of(name, key)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// milliseconds returns a duration as samples store it.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// quantile returns the q-quantile of sorted latencies.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
