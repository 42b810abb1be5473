package capture

import (
	"sync"
	"time"
)

const (
	// meterKept is how old a sample may be that a rate is made of.
	meterKept = 5 * time.Minute
	// meterLeast is how far apart two samples are at least.
	meterLeast = 2 * time.Second
	mostMeters = 2000
)

// meter makes rates of counters that the database keeps: a consumer has a total, and no history. The first look at a counter has no rate.
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

// rate returns how fast a counter has grown since the last look.
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
