package ui

import (
	"fmt"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
)

// number writes a count with separators: 1,410,228.
func number(n int64) string { return humanize.Comma(n) }

// plural writes a count with its noun: 1 date, 3,650 dates.
func plural(n int64, noun string) string {
	switch {
	case n == 1:
	case noun == "entity":
		noun = "entities"
	case len(noun) > 2 && (noun[len(noun)-2:] == "ch" || noun[len(noun)-1] == 's'):
		noun += "es"
	default:
		noun += "s"
	}
	return number(n) + " " + noun
}

// duration writes how long something took, in two units at most: 0.4 ms, 85 ms, 1.2 s, 2 min 5 s, 3 h 10 min, 4 d 2 h.
func duration(d time.Duration) string {
	switch {
	case d < 0:
		return "−" + duration(-d)
	case d == 0:
		return "0 s"
	case d < 10*time.Millisecond:
		return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64) + " ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return units(int(d.Minutes()), "min", int(d.Seconds())%60, "s")
	case d < 48*time.Hour:
		return units(int(d.Hours()), "h", int(d.Minutes())%60, "min")
	default:
		return units(int(d.Hours())/24, "d", int(d.Hours())%24, "h")
	}
}

func units(n int, unit string, rest int, smaller string) string {
	if rest == 0 {
		return fmt.Sprintf("%d %s", n, unit)
	}
	return fmt.Sprintf("%d %s %d %s", n, unit, rest, smaller)
}

// milliseconds is a duration of the ledger's.
func milliseconds[T ~int64 | ~float64 | ~float32](n T) time.Duration {
	return time.Duration(float64(n) * float64(time.Millisecond))
}

// instant writes a time in the reporting zone, with the zone's abbreviation at that time.
func (sc scope) instant(t time.Time) string { return t.In(sc.zone).Format("2006-01-02 15:04:05 MST") }

// short writes a time in the reporting zone without its seconds and zone, for narrow columns whose heading names it.
func (sc scope) short(t time.Time) string { return t.In(sc.zone).Format("2006-01-02 15:04") }

// relative writes how long ago a time was, or how soon it is.
func (sc scope) relative(t time.Time) string {
	if gap := sc.now.Sub(t); gap > -time.Second && gap < time.Second {
		return "now"
	}
	return humanize.RelTime(t, sc.now, "ago", "from now")
}

// percent writes a share from 0 to 1.
func percent(share float64) string { return strconv.Itoa(int(min(1, max(0, share))*100)) + " %" }

// shortened cuts a text that may be of any length down to what fits in a table's cell.
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
