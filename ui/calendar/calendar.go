// Package calendar shows a year of dates: those in the ledger with their states, and those that have events and that nobody has requested.
package calendar

import (
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/ui/component"
	"github.com/daymill/daymill/ui/format"
)

// States that only the calendar has, in addition to the ledger's.
const (
	StateMissing  = "missing"
	StateNoEvents = "no_events"
	StateUnknown  = "unknown" // the search for events has not ended
	StateToday    = "today"   // not over yet, and not requested
	stateFuture   = "future"
)

// View is a year of dates.
type View struct {
	Year   int
	Years  []int // years to switch to, latest first
	Months []monthView
	// Recent are the month of today and the one before, if the year is the current one. Narrow screens show them first.
	Recent []monthView
	// Quiet is the last month before the year's first event. Months leaves out the months up to it. Empty if
	// there is none.
	Quiet  string
	Legend []legendView
	// Complete and Events are totals of the year.
	Complete, Events int64
}

type monthView struct {
	Name, Long string
	Recent     bool // it is one of View.Recent
	Days       []dayView
}

// future reports whether the month has not begun.
func (m monthView) future() bool { return m.Days[0].State == stateFuture }

// quiet reports whether none of a month's dates has events.
func (m monthView) quiet() bool {
	return !slices.ContainsFunc(m.Days, func(day dayView) bool { return day.State != StateNoEvents })
}

type dayView struct {
	Date   date.Date
	Number int
	Column int // 1 on Mondays
	State  string
	Events int64
	Volume int // how busy a complete date is within its year, from 0 (no events) to 4
}

// legendView is a state of the legend, with the number of the year's dates in it.
type legendView struct {
	State string
	Dates int64
}

// States returns the states in the order of the legend. Other states come last.
func States() []string {
	return []string{
		"complete", "stale", "protected", "running", "requested", "retrying", "failed", "cancelled", "interrupted", "waiting",
		ledger.StatePlanned, StateMissing, StateNoEvents,
	}
}

// New combines the ledger's dates with the missing ones.
func New(year int, days []ledger.Day, missing Missing, today date.Date) View {
	view := View{Year: year}
	known := make(map[date.Date]ledger.Day, len(days))
	for _, day := range days {
		known[day.Date] = day
	}
	full := fullVolume(days)
	counts := make(map[string]int64)
	for month := time.January; month <= time.December; month++ {
		first, next := date.New(year, month, 1), date.New(year, month+1, 1)
		one := monthView{Name: month.String()[:3], Long: month.String() + " " + strconv.Itoa(year)}
		for d := first; d.Before(next); d = d.AddDays(1) {
			cell := dayView{Date: d, Number: d.Sub(first) + 1, Column: (int(d.Weekday())+6)%7 + 1}
			day, is := known[d]
			cell.State, cell.Events = StateIn(day, is, d, missing, today), day.Events
			if cell.State == "complete" {
				cell.Volume = volume(day.Events, full)
				view.Complete++
				view.Events += day.Events
			}
			counts[cell.State]++
			one.Days = append(one.Days, cell)
		}
		view.Months = append(view.Months, one)
	}
	if year == YearOf(today) {
		_, current, _ := today.Date()
		month := int(current)
		for i := max(0, month-2); i < month; i++ {
			view.Recent = append(view.Recent, view.Months[i])
			view.Months[i].Recent = true
		}
		slices.Reverse(view.Recent)
	}
	first := slices.IndexFunc(view.Months, func(month monthView) bool { return !month.quiet() })
	if first > 0 {
		view.Quiet = view.Months[first-1].Long
		view.Months = view.Months[first:]
	}
	view.Legend = newLegend(counts)
	return view
}

// StateIn returns the state of a date: the ledger's, or what is known of a date that it does not have.
func StateIn(day ledger.Day, is bool, d date.Date, missing Missing, today date.Date) string {
	switch {
	case is:
		return day.State
	case d.After(today):
		return stateFuture
	case d == today:
		return StateToday
	case missing.Dates[d]:
		return StateMissing
	case !missing.Known:
		return StateUnknown
	default:
		return StateNoEvents
	}
}

func newLegend(counts map[string]int64) []legendView {
	order := States()
	var others []string
	for state := range counts {
		if !slices.Contains(order, state) && !slices.Contains([]string{stateFuture, StateToday, StateUnknown}, state) {
			others = append(others, state)
		}
	}
	slices.Sort(others)
	var legend []legendView
	for _, state := range slices.Concat(order, others) {
		if counts[state] > 0 {
			legend = append(legend, legendView{State: state, Dates: counts[state]})
		}
	}
	return legend
}

// fullVolume returns the count that gets the strongest shade. It is close to the busiest date's count, but one exceptional day does not make all
// others pale.
func fullVolume(days []ledger.Day) int64 {
	var events []int64
	for _, day := range days {
		if day.State == "complete" && day.Events > 0 {
			events = append(events, day.Events)
		}
	}
	if len(events) == 0 {
		return 1
	}
	slices.Sort(events)
	return events[(len(events)-1)*95/100]
}

func volume(events, full int64) int {
	if events == 0 {
		return 0
	}
	return int(min(4, 1+events*4/(full+1)))
}

// label describes a day for screen readers and tooltips.
func (d dayView) label() string {
	text := d.Date.String() + ": " + calendarWord(d.State)
	if d.Events > 0 {
		text += ", " + format.Plural(d.Events, "event")
	}
	return text
}

// text returns the number in a day's cell, with which its accessible name ends.
func (d dayView) text() string { return d.Date.String()[len("2026-03-"):] }

// sign returns the sign beside a day's number if the date needs attention.
func (d dayView) sign() string {
	switch d.State {
	case "complete", StateToday, stateFuture, StateUnknown, StateNoEvents:
		return ""
	default:
		return glyph(d.State)
	}
}

// glyph returns a state's sign, for readers who cannot tell the colours apart.
func glyph(state string) string {
	switch state {
	case "complete":
		return "✓"
	case "running":
		return "▶"
	case "requested":
		return "…"
	case "retrying":
		return "↻"
	case "failed":
		return "✕"
	case "cancelled":
		return "⊘"
	case "interrupted":
		return "‖"
	case "waiting":
		return "◷"
	case ledger.StatePlanned:
		return "◌"
	case "stale":
		return "≠"
	case "protected":
		return "◆"
	case StateMissing:
		return "!"
	case StateNoEvents:
		return ""
	default:
		return "?"
	}
}

// calendarWord returns the calendar's word for a state.
func calendarWord(state string) string {
	switch state {
	case StateToday:
		return "today, not over"
	case StateUnknown:
		return "not requested"
	default:
		return component.StateWord(state)
	}
}

// listQuery returns the query that lists the year's dates in a state.
func (v View) listQuery(state string) url.Values {
	of := YearRange(v.Year)
	return url.Values{"state": {state}, "from": {of.First.String()}, "to": {of.Last.String()}}
}
