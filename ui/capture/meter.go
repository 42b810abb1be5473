package capture

import (
	"sync"
	"time"
)

const (
	// meterKept is the maximum age of a sample that is used for a rate.
	meterKept = 5 * time.Minute
	// meterLeast is the minimum time between two samples.
	meterLeast = 2 * time.Second
	mostMeters = 2000
)

// meter computes rates of counters in the database, which have a total but no history. The first sample of a counter has no rate.
type meter struct {
	mu      sync.Mutex
	samples map[string]sample
}

type sample struct {
	at    time.Time
	total int64
	rate  float64
	known bool
}

// rate returns how fast a counter has grown since an earlier sample.
func (m *meter) rate(name string, total int64, now time.Time) (rate float64, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last, has := m.samples[name]
	age := now.Sub(last.at)
	switch {
	case !has || age > meterKept || age < 0 || total < last.total:
		if m.samples == nil || len(m.samples) >= mostMeters {
			m.samples = make(map[string]sample)
		}
		m.samples[name] = sample{at: now, total: total}
		return 0, false
	case age < meterLeast:
		return last.rate, last.known
	}
	rate = float64(total-last.total) / age.Seconds()
	m.samples[name] = sample{at: now, total: total, rate: rate, known: true}
	return rate, true
}
