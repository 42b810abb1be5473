// Package component has the parts that pages are made of: headings, badges, buttons, times, progress, charts.
package component

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"github.com/daymill/daymill/ui/format"
)

// Chart is a stacked column chart that the server draws. It needs no script, and the table below it has the same figures.
type Chart struct {
	Name        string // part of ids, and of the class that shows the chart at some window widths
	Title, Desc string
	Width       float64
	Height      float64
	Left        float64 // left edge of the columns
	Right       float64
	Bottom      float64 // baseline of the columns
	Marks       []mark  // of the vertical axis
	Labels      []label // of the horizontal axis
	Areas       []area
	Hits        []hit
}

type mark struct {
	Y    float64
	Text string
}

type label struct {
	X      float64
	Text   string
	Anchor string
}

// area is all columns of a series as one path.
type area struct{ Class, Path string }

// hit is the area above a column that shows its tooltip.
type hit struct {
	X, Width float64
	Title    string
}

// Series is the values of one kind, one per column.
type Series struct {
	Name   string
	Class  string // sets the colour: see the stylesheet
	Values []int64
	Total  int64
}

// Bucket is a column: a date, a week or a month.
type Bucket struct {
	Label string   // on the axis
	Title string   // in full
	Lines []string // the values of the column, if not those of its series
}

// Size is the space that a chart may use.
type Size struct {
	Name          string
	Width, Height float64
	Labels        int
	// Write writes a value; nil for a number. Step returns a good distance of the marks of the axis, which are at most four above zero, for
	// a highest value; nil for a number.
	Write func(value int64) string
	Step  func(highest int64) int64
}

// NewChart draws the series as stacked columns.
func NewChart(at Size, title, desc string, buckets []Bucket, stack []Series) Chart {
	const top, bottom, char = 10, 24, 7.2
	drawn := Chart{Name: at.Name, Title: title, Desc: desc, Width: at.Width, Height: at.Height, Bottom: at.Height - bottom, Right: at.Width - 4}
	sums := make([]int64, len(buckets))
	var highest int64
	for i := range buckets {
		for _, s := range stack {
			sums[i] += s.Values[i]
		}
		highest = max(highest, sums[i])
	}
	step, write, writeAxis := niceStep(highest, marksAbove), format.Number, axisNumber
	if at.Step != nil {
		step = at.Step(highest)
	}
	if at.Write != nil {
		write, writeAxis = at.Write, at.Write
	}
	most := max(step, (highest+step-1)/step*step)
	widest := 0
	for value := int64(0); value <= most; value += step {
		text := writeAxis(value)
		widest = max(widest, utf8.RuneCountInString(text))
		drawn.Marks = append(drawn.Marks, mark{Y: drawn.Bottom - (drawn.Bottom-top)*float64(value)/float64(most), Text: text})
	}
	drawn.Left = math.Ceil(float64(widest)*char) + 8
	pitch := (drawn.Right - drawn.Left) / float64(max(1, len(buckets)))
	gap := min(3, pitch*0.2)
	base := make([]float64, len(buckets))
	for _, s := range stack {
		var path strings.Builder
		for i, value := range s.Values {
			if value == 0 {
				continue
			}
			height := (drawn.Bottom - top) * float64(value) / float64(most)
			path.WriteString("M" + decimal(drawn.Left+pitch*float64(i)+gap/2) + " " + decimal(drawn.Bottom-base[i]) +
				"v-" + decimal(height) + "h" + decimal(pitch-gap) + "v" + decimal(height) + "z")
			base[i] += height
		}
		if path.Len() > 0 {
			drawn.Areas = append(drawn.Areas, area{Class: "fill-" + s.Class, Path: path.String()})
		}
	}
	for i, b := range buckets {
		lines := []string{b.Title + ": " + write(sums[i])}
		if b.Lines != nil {
			lines = append([]string{b.Title}, b.Lines...)
		}
		for _, s := range stack {
			if s.Values[i] > 0 && len(stack) > 1 && b.Lines == nil {
				lines = append(lines, format.Shortened(s.Name, 60)+" "+format.Number(s.Values[i]))
			}
		}
		drawn.Hits = append(drawn.Hits, hit{X: drawn.Left + pitch*float64(i), Width: pitch, Title: strings.Join(lines, "\n")})
	}
	drawn.label(buckets, pitch, at.Labels)
	return drawn
}

// label puts the names of some columns below them, without overlaps and always including the last one.
func (c *Chart) label(buckets []Bucket, pitch float64, most int) {
	every := max(1, int(math.Ceil(float64(len(buckets))/float64(most))))
	free := math.Inf(1)
	for i := len(buckets) - 1; i >= 0; i -= every {
		x, anchor := c.Left+pitch*(float64(i)+0.5), "middle"
		half := float64(len(buckets[i].Label)) * 3.4
		right := x + half
		if right > c.Width {
			x, anchor, right = c.Right, "end", c.Right
		} else if x-half < 0 {
			x, anchor, right = 0, "start", 2*half
		}
		if right+8 > free {
			continue
		}
		free = right - 2*half
		c.Labels = append(c.Labels, label{X: x, Text: buckets[i].Label, Anchor: anchor})
	}
}

// marksAbove is how many marks of the axis are above zero, at most.
const marksAbove = 4

// TimeStep returns a good distance of marks for milliseconds: see [Size].
func TimeStep(highest int64) int64 {
	const second, minute, hour, day = 1000, 60_000, 3_600_000, 86_400_000
	for _, step := range []int64{
		1, 2, 5, 10, 20, 50, 100, 200, 500, second, 2 * second, 5 * second, 10 * second, 20 * second, 30 * second, minute, 2 * minute, 5 * minute,
		10 * minute, 20 * minute, 30 * minute, hour, 2 * hour, 3 * hour, 6 * hour, 12 * hour, day, 2 * day,
	} {
		if highest <= marksAbove*step {
			return step
		}
	}
	return day * niceStep((highest+day-1)/day, marksAbove)
}

// WriteTime writes milliseconds: see [Size].
func WriteTime(milliseconds int64) string {
	if milliseconds == 0 {
		return "0"
	}
	return format.Duration(time.Duration(milliseconds) * time.Millisecond)
}

// niceStep returns the smallest of 1, 2, 5, 10, 20, 50, … that reaches a value in at most the given number of steps.
func niceStep(highest int64, steps int64) int64 {
	for step := int64(1); ; step *= 10 {
		for _, factor := range []int64{1, 2, 5} {
			if highest <= step*factor*steps {
				return step * factor
			}
		}
		if step > math.MaxInt64/100 {
			return step
		}
	}
}

// axisNumber writes a number in short form: 500, 20,000, 1.5 M.
func axisNumber(n int64) string {
	if n < 1_000_000 {
		return format.Number(n)
	}
	value, unit := humanize.ComputeSI(float64(n))
	return strconv.FormatFloat(value, 'f', -1, 64) + " " + unit
}

func decimal(x float64) string { return strconv.FormatFloat(math.Round(x*100)/100, 'f', -1, 64) }
