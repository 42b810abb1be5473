package main

import (
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/daymill/daymill/internal/text"
)

// meter shows progress on standard error: a bar on a terminal, otherwise a plain line every few seconds.
type meter struct {
	a      *app
	title  string
	total  int64
	bar    *progressbar.ProgressBar
	lastAt time.Time
}

const plainEvery = 5 * time.Second

func (a *app) meter(title string, total int64) *meter {
	m := &meter{a: a, title: title, total: max(1, total), lastAt: a.clock().Now()}
	if a.terminal() {
		m.bar = progressbar.NewOptions64(m.total,
			progressbar.OptionSetWriter(a.stderr),
			progressbar.OptionSetDescription(text.Line(title)),
			progressbar.OptionEnableColorCodes(os.Getenv("NO_COLOR") == ""),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionSetWidth(30),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionThrottle(100*time.Millisecond),
		)
	}
	return m
}

// set moves the meter to a value and shows what is being done.
func (m *meter) set(value int64, what string) {
	if m.bar != nil {
		m.bar.Describe(text.Line(fmt.Sprintf("%s %-7s", m.title, what)))
		_ = m.bar.Set64(min(value, m.total)) // If the bar fails, the work continues without it.
		return
	}
	now := m.a.clock().Now()
	if now.Sub(m.lastAt) < plainEvery {
		return
	}
	m.lastAt = now
	m.a.errorf("%s: %s, %d %%\n", m.title, what, value*100/m.total)
}

func (m *meter) finish() {
	if m.bar != nil {
		_ = m.bar.Finish() // If the bar fails, the work is done anyway.
	}
}
