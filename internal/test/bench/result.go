package main

import (
	"slices"
	"time"
)

// Results is what a run of the benchmark has come to.
type Results struct {
	Machine   Machine   `json:"machine"`
	Began     time.Time `json:"began"`
	Took      string    `json:"took"`
	Scenarios []Result  `json:"scenarios"`
}

// Result is what a scenario has come to.
type Result struct {
	Name   string   `json:"name"`
	Title  string   `json:"title"`
	Notes  []string `json:"notes,omitempty"` // sentences
	Rows   []Row    `json:"rows"`
	Ratios []Ratio  `json:"ratios"`
}

// Row is what a contender took and left behind, by the keys of columns.
type Row struct {
	Contender string            `json:"contender"`
	Values    map[string]Spread `json:"values"`
}

// Spread is the median of several rounds, with the least and the most.
type Spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// Ratio is a figure that has a target: a ratio of two contenders within each round, or if it has a unit, a figure of
// Daymill's.
type Ratio struct {
	ID      string  `json:"id"`
	What    string  `json:"what"`
	Value   Spread  `json:"value"`
	Unit    string  `json:"unit,omitempty"`
	Target  float64 `json:"target"`             // 0 where there is none
	AtLeast bool    `json:"at_least,omitempty"` // the target is a least and not a most
	Worst   bool    `json:"worst,omitempty"`    // the worst round counts, not the median
}

// Figure is what is compared with the target.
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

// Met reports whether the figure keeps to its target.
func (r Ratio) Met() bool {
	if r.AtLeast {
		return r.Figure() >= r.Target
	}
	return r.Figure() <= r.Target
}

// sample is what one turn of a contender took, by the keys of columns. What was not measured is not in it.
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

// samples are those of each contender, one a round.
type samples map[string][]sample

// spread is that of values.
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

// of is the spread of one key of a contender.
func (s samples) of(contender, key string) Spread {
	values := make([]float64, 0, len(s[contender]))
	for _, one := range s[contender] {
		if v, has := one[key]; has {
			values = append(values, v)
		}
	}
	return spread(values)
}

// ratio is that of one key of two contenders, taken in each round.
func (s samples) ratio(key, contender, against string) Spread {
	var values []float64
	for i := range min(len(s[contender]), len(s[against])) {
		if other := s[against][i][key]; other > 0 {
			values = append(values, s[contender][i][key]/other)
		}
	}
	return spread(values)
}

// rows are the samples in the order of the names.
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

// milliseconds is how times are kept.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// quantile is a latency that so much of the sorted others are below, from 0 to 1.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
