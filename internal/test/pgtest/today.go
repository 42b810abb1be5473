package pgtest

import (
	"testing"
	"time"

	"github.com/daymill/daymill/internal/date"
)

// evening is how long before midnight a test waits for the next date: tests that need today to stay today take less.
const evening = 3 * time.Minute

// Today returns the date in a zone. If it ends within a few minutes, Today waits until it is over.
func Today(tb testing.TB, zone *time.Location) date.Date {
	tb.Helper()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		now := time.Now() //nolint:forbidigo // What the tested programs see.
		if today := date.Of(now, zone); date.Of(now.Add(evening), zone) == today {
			return today
		}
		select {
		case <-ticker.C:
		case <-tb.Context().Done():
			tb.FailNow()
		}
	}
}
