// Package format writes numbers, durations and texts for people.
package format

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	present "github.com/daymill/daymill/internal/text"
)

// Number formats a count with separators: 1,410,228.
func Number(n int64) string { return present.Number(n) }

// Plural formats a count with its noun: 1 date, 3,650 dates.
func Plural(n int64, noun string) string { return present.Plural(n, noun) }

// Duration formats a duration in at most two units: 85 ms, 1.2 s, 2 min 5 s.
func Duration(d time.Duration) string { return present.Duration(d) }

// Percent formats a share from 0 to 1.
func Percent(share float64) string { return strconv.Itoa(int(min(1, max(0, share))*100)) + " %" }

// Bytes writes a number of bytes.
func Bytes(n int64) string {
	switch {
	case n < 1<<20:
		return Number((n+1023)>>10) + " KiB"
	case n < 1<<30:
		return Number(n>>20) + " MiB"
	default:
		return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) + " GiB"
	}
}

// Shortened cuts a text of any length so that it fits a table cell.
func Shortened(text string, most int) string {
	runes := 0
	for i := range text {
		if runes == most {
			return text[:i] + "…"
		}
		runes++
	}
	return text
}

// longestID is how many characters of an id a page shows.
const longestID = 80

// ID writes an id for a page, shortened. If it has characters that a page would not show, such as leading blanks, it is in quotes.
func ID(id string) string {
	id = Shortened(id, longestID)
	visible := id != "" && id == strings.TrimSpace(id) && !strings.Contains(id, "  ")
	if visible && strings.IndexFunc(id, func(c rune) bool { return !unicode.IsPrint(c) }) < 0 {
		return id
	}
	return strconv.Quote(id)
}

// Growth writes how much a count has grown, or shrunk: +12 %, −3 %. The count before must not be 0.
func Growth(now, before int64) string {
	percent := math.Round((float64(now)/float64(before)-1)*1000) / 10
	text := strconv.FormatFloat(math.Abs(percent), 'f', -1, 64) + " %"
	switch {
	case percent > 0:
		return "+" + text
	case percent < 0:
		return "−" + text
	default:
		return "0 %"
	}
}
