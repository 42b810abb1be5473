package main

import (
	"time"

	"github.com/daymill/daymill/internal/rollup/event"
)

// importProgress shows the progress of a file's import and its bad rows on standard error.
type importProgress struct {
	a      *app
	name   string
	meter  *meter    // nil if the file's size is unknown
	lastAt time.Time // of the latest plain line
	bad    int64     // rows shown
}

// newImportProgress starts to show the import of a file. The size is in bytes, -1 if it is unknown.
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

// badRow prints a bad row as file:line, which terminals and editors turn into a link.
func (p *importProgress) badRow(bad *event.RowError) {
	p.bad++
	p.clear()
	p.a.errorf("%s:%d: %s\n", p.name, bad.Line, bad.Err)
}

// end removes the bar, and prints how many more bad rows there were.
func (p *importProgress) end(progress event.Progress) {
	p.clear()
	if more := progress.Bad - p.bad; more > 0 {
		p.a.errorf("%s: %s not shown\n", p.name, plural(more, "more bad row"))
	}
}

func (p *importProgress) clear() {
	if p.meter != nil && p.meter.bar != nil {
		_ = p.meter.bar.Clear() // A bar that stays does no harm.
	}
}
