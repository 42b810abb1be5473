package text

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// Number formats a count with separators: 1,410,228.
func Number(n int64) string { return humanize.Comma(n) }

// Plural formats a count with its noun: 1 date, 3,650 dates.
func Plural(n int64, noun string) string {
	switch {
	case n == 1:
	case len(noun) > 2 && noun[len(noun)-1] == 'y' && !strings.ContainsAny(noun[len(noun)-2:len(noun)-1], "aeiou"):
		noun = noun[:len(noun)-1] + "ies"
	case len(noun) > 2 && (noun[len(noun)-2:] == "ch" || noun[len(noun)-1] == 's'):
		noun += "es"
	default:
		noun += "s"
	}
	return Number(n) + " " + noun
}

// Duration formats a duration in at most two units: 0.4 ms, 85 ms, 1.2 s, 2 min 5 s, 3 h 10 min, 4 d 2 h.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "−" + Duration(-d)
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
