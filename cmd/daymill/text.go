package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/text"
)

// number returns 1234567 as 1,234,567.
func number(n int64) string { return text.Number(n) }

// plural returns a number with its noun: 1 date, 1,234 dates.
func plural(n int64, noun string) string { return text.Plural(n, noun) }

// duration returns a duration for people to read: 3.2 s, 4 min 10 s, 2 h 5 min.
func duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24+0.5))
	}
}

// typeMap parses FROM=TO pairs.
func typeMap(pairs []string) (map[string]string, error) {
	types := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		at := strings.LastIndex(pair, "=")
		if at < 1 || at == len(pair)-1 {
			return nil, usagef("--map %q: write it as FROM=TO, such as LIKE=click", pair)
		}
		from, to := pair[:at], pair[at+1:]
		if before, twice := types[from]; twice && before != to {
			return nil, usagef("--map renames %q twice, to %q and to %q", from, before, to)
		}
		types[from] = to
	}
	return types, nil
}
