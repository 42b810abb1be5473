package main

import (
	"time"

	"github.com/daymill/daymill/internal/rollup/event"
)

// importProgress shows on standard error how far a file's import is, and its bad rows.
type importProgress struct {
	a      *app
	name   string
	meter  *meter    // nil where the file's size is not known
	lastAt time.Time // of the latest plain line
	bad    int64     // rows shown
}

// newImportProgress begins to show a file of so many bytes; -1 where that is not known.
func newImportProgress(a *app, name string, size int64) *importProgress {
	p := &importProgress{a: a, name: name, lastAt: a.clock().Now()}
	if size > 0 {
		p.meter = a.meter(name, size)
	}
	return p
}

// observe shows the progress after a chunk.
func (p *importProgress) observe(progress event.Progress) {
	rows := plural(progress.Rows, "row")
	if p.meter != nil {
		p.meter.set(progress.Stored, rows)
		return
	}
	if now := p.a.clock().Now(); now.Sub(p.lastAt) >= plainEvery {
		p.lastAt = now
		p.a.errorf("%s: %s\n", p.name, rows)
	}
}

// badRow shows a bad row, where a terminal or an editor finds it.
func (p *importProgress) badRow(bad *event.RowError) {
	p.bad++
	p.clear()
	p.a.errorf("%s:%d: %s\n", p.name, bad.Line, bad.Err)
}

// end removes the bar, and says how many bad rows there were besides those shown.
func (p *importProgress) end(progress event.Progress) {
	p.clear()
	if more := progress.Bad - p.bad; more > 0 {
		p.a.errorf("%s: %s not shown\n", p.name, plural(more, "more bad row"))
	}
}

func (p *importProgress) clear() {
	if p.meter != nil && p.meter.bar != nil {
		_ = p.meter.bar.Clear() // A bar that stays is no reason to stop.
	}
}
