package ui

import (
	"strconv"
	"time"

	present "github.com/daymill/daymill/internal/text"
)

// number formats a count with separators: 1,410,228.
func number(n int64) string { return present.Number(n) }

// plural formats a count with its noun: 1 date, 3,650 dates.
func plural(n int64, noun string) string { return present.Plural(n, noun) }

// duration formats a duration in at most two units: 85 ms, 1.2 s, 2 min 5 s.
func duration(d time.Duration) string { return present.Duration(d) }

// milliseconds converts a number of milliseconds from the ledger to a duration.
func milliseconds[T ~int64 | ~float64 | ~float32](n T) time.Duration {
	return time.Duration(float64(n) * float64(time.Millisecond))
}

// percent formats a share from 0 to 1.
func percent(share float64) string { return strconv.Itoa(int(min(1, max(0, share))*100)) + " %" }

// shortened cuts a text of any length so that it fits a table cell.
func shortened(text string, most int) string {
	runes := 0
	for i := range text {
		if runes == most {
			return text[:i] + "…"
		}
		runes++
	}
	return text
}
