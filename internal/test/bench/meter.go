package main

import (
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// meter shows progress: a bar on a terminal, otherwise a line for every scenario.
type meter struct {
	out   *os.File
	bar   *progressbar.ProgressBar
	name  string
	began time.Time
}

func newMeter(out *os.File) *meter { return &meter{out: out} }

func (m *meter) begin(name string, steps int) {
	m.name, m.began = name, now()
	if term.IsTerminal(int(m.out.Fd())) && os.Getenv("TERM") != "dumb" {
		m.bar = progressbar.NewOptions(max(1, steps), progressbar.OptionSetWriter(m.out),
			progressbar.OptionSetDescription(name), progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish())
	}
}

// say shows what is being done.
func (m *meter) say(what string) {
	if m.bar != nil {
		m.bar.Describe(fmt.Sprintf("%-10s %-24s", m.name, what))
	}
}

// step advances the bar by one step.
func (m *meter) step(what string) {
	m.say(what)
	if m.bar != nil {
		_ = m.bar.Add(1) // A bar that cannot be drawn is no reason to stop.
	}
}

func (m *meter) end() {
	if m.bar != nil {
		_ = m.bar.Finish() // See above.
		m.bar = nil
		return
	}
	fmt.Fprintf(m.out, "%s took %s\n", m.name, now().Sub(m.began).Round(100*time.Millisecond))
}
