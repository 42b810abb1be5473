package main

import (
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
)

// number writes 1234567 as 1,234,567.
func number(n int64) string { return humanize.Comma(n) }

// plural writes a number with its noun: 1 date, 1,234 dates.
func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return number(n) + " " + noun + "s"
}

// duration writes a duration as a person would say it: 3.2 s, 4 min 10 s, 2 h 5 min.
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
