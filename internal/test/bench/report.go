package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
)

// column is a column of the tables.
type column struct {
	key, title string
	show       func(v float64) string
}

func columns() []column {
	return []column{
		{wall, "time", duration},
		{written, "the application's write", duration},
		{scanned, "in statements", duration},
		{lasted, "longest statement", duration},
		{wal, "WAL", size},
		{reads, "blocks read", count},
		{dirtied, "blocks dirtied", count},
		{dead, "dead rows", count},
		{memory, "peak memory", size},
		{wire, "over the wire", size},
		{rate, "requests/s", count},
		{throughput, "changes/s", count},
		{p50, "p50", duration},
		{p99, "p99", duration},
		{worst, "worst", duration},
	}
}

func duration(ms float64) string {
	switch {
	case ms >= 1000:
		return fmt.Sprintf("%.2f s", ms/1000)
	case ms >= 10:
		return fmt.Sprintf("%.0f ms", ms)
	default:
		return fmt.Sprintf("%.2f ms", ms)
	}
}

func size(bytes float64) string { return humanize.IBytes(uint64(max(0, bytes))) }

func count(v float64) string { return thousands(int64(v)) }

func thousands(n int64) string { return humanize.Comma(n) }

// cells returns the columns that any row has. It shows the spread if there was more than one round.
func cells(rows []Row) (header []string, table [][]string) {
	header = []string{""}
	table = make([][]string, len(rows))
	for i, row := range rows {
		table[i] = []string{row.Contender}
	}
	for _, c := range columns() {
		used := false
		for _, row := range rows {
			_, has := row.Values[c.key]
			used = used || has
		}
		if !used {
			continue
		}
		header = append(header, c.title)
		for i, row := range rows {
			text := ""
			if v, has := row.Values[c.key]; has {
				text = c.show(v.Median)
				if low, high := c.show(v.Low), c.show(v.High); low != high {
					text += " (" + low + "–" + high + ")"
				}
			}
			table[i] = append(table[i], text)
		}
	}
	return header, table
}

// figure formats a ratio's value.
func (r Ratio) figure(v float64) string {
	switch {
	case r.Unit == "" && v != 0 && v < 0.01:
		return fmt.Sprintf("%.5f", v)
	case r.Unit == "" || r.Unit == "s":
		return strings.TrimSpace(fmt.Sprintf("%.2f %s", v, r.Unit))
	default:
		return fmt.Sprintf("%.0f %s", v, r.Unit)
	}
}

// cells returns the name, figure, spread, target and whether the target is met.
func (r Ratio) cells() []string {
	within := ""
	if r.Value.Low != r.Value.High {
		within = r.figure(r.Value.Low) + "–" + r.figure(r.Value.High)
	}
	target, met := "", ""
	if r.Target != 0 {
		sign := "≤ "
		if r.AtLeast {
			sign = "≥ "
		}
		number := fmt.Sprintf("%g %s", r.Target, r.Unit)
		target, met = sign+strings.TrimSpace(number), "met"
		if !r.Met() {
			met = "not met"
		}
	}
	return []string{r.What, r.figure(r.Figure()), within, target, met}
}

func ratioHeader() []string { return []string{"", "figure", "spread", "target", ""} }

// printResult prints a scenario for people.
func printResult(out io.Writer, result Result) {
	fmt.Fprintf(out, "\n%s (%s)\n", result.Title, result.Name)
	for _, note := range result.Notes {
		fmt.Fprintf(out, "  %s\n", note)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(fields []string) { fmt.Fprintf(table, "  %s\n", strings.Join(fields, "\t")) }
	header, rows := cells(result.Rows)
	line(header)
	for _, row := range rows {
		line(row)
	}
	_ = table.Flush() // An error of printing cannot be printed either.
	fmt.Fprintln(out)
	printRatios(out, result.Ratios)
}

func printRatios(out io.Writer, ratios []Ratio) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range ratios {
		fmt.Fprintf(table, "  %s\t%s\n", r.ID, strings.Join(r.cells(), "\t"))
	}
	_ = table.Flush() // See above.
}

// printTargets prints every figure that has a target once more, together.
func printTargets(out io.Writer, results Results) {
	var missed, met []Ratio
	for _, s := range results.Scenarios {
		for _, r := range s.Ratios {
			switch {
			case r.Target == 0:
			case r.Met():
				met = append(met, r)
			default:
				missed = append(missed, r)
			}
		}
	}
	fmt.Fprintf(out, "\nTargets met: %d\n", len(met))
	printRatios(out, met)
	fmt.Fprintf(out, "\nTargets not met: %d\n", len(missed))
	printRatios(out, missed)
	fmt.Fprintf(out, "\nAll metrics were compared with a recount, and are exact. It took %s, and began %s.\n",
		results.Took, results.Began.Format(time.DateTime+" UTC"))
}
