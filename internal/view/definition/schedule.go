package definition

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/daymill/daymill/internal/document"
)

// Schedule says how often to read a view's tables whose changes cannot be captured.
type Schedule struct {
	// Every is how often changed rows are read, which the column Table.Changed shows.
	Every time.Duration `json:"every"`
	// Full is how often all rows are read, which also finds deleted rows.
	Full time.Duration `json:"full"`
	// Overlap is how long a transaction of the application may last for Every to find its changes.
	Overlap time.Duration `json:"overlap"`
	// Databases are the databases that are read on a schedule; all of the view's if empty.
	Databases []string `json:"databases,omitempty"`
}

// Defaults of Schedule.
const (
	defaultEvery   = time.Minute
	defaultFull    = 24 * time.Hour
	defaultOverlap = 5 * time.Minute
)

const day = 24 * time.Hour

// Scheduled reports whether the tables of a database are read on a schedule.
func (d *Definition) Scheduled(database string) bool {
	return d.Schedule != nil && (len(d.Schedule.Databases) == 0 || slices.Contains(d.Schedule.Databases, database))
}

func (r reader) schedule(node *yaml.Node) *Schedule {
	s := &Schedule{Every: defaultEvery, Full: defaultFull, Overlap: defaultOverlap}
	r.Object(node, "a schedule", document.Fields{
		"every": r.duration(&s.Every, time.Second), "full": r.duration(&s.Full, time.Second), "overlap": r.duration(&s.Overlap, 0),
		"databases": func(node *yaml.Node) { s.Databases = r.Texts(node, nil) },
	})
	return s
}

// duration reads 30s, 5m, 12h or 1d.
func (r reader) duration(to *time.Duration, least time.Duration) func(*yaml.Node) {
	return func(node *yaml.Node) {
		text, ok := r.Text(node)
		if !ok {
			return
		}
		parsed, err := time.ParseDuration(text)
		if days, is := strings.CutSuffix(text, "d"); is {
			var count int
			count, err = strconv.Atoi(days)
			parsed = time.Duration(count) * day
		}
		const most = 366 * day
		switch {
		case err != nil:
			r.Wrongf(node, "%q is not a duration: write 30s, 5m, 12h or 1d", text)
		case parsed < least || parsed > most:
			r.Wrongf(node, "%s is too short or too long: write a duration from %s to 366d", text, brief(least))
		default:
			*to = parsed
		}
	}
}

// brief writes a duration in the form that duration reads.
func brief(d time.Duration) string {
	if d > 0 && d%day == 0 {
		return strconv.Itoa(int(d/day)) + "d"
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if rest, is := strings.CutSuffix(text, zero); is {
			text = rest + zero[:1]
		}
	}
	return text
}

// schedule checks that a schedule and the tables fit together.
func (c checker) schedule() {
	for _, t := range c.d.Tables {
		if t.Changed != "" && !c.d.Scheduled(t.Database) {
			c.Wrongf(t.node(), `"changed" is for tables that are read on a schedule: add schedule: {every: 1m, full: 1d} to the view, or leave it out`)
		}
	}
	if c.d.Schedule == nil {
		return
	}
	names := c.d.Databases()
	for _, name := range c.d.Schedule.Databases {
		if !slices.Contains(names, name) {
			c.Wrongf(c.d.node(), "the schedule has database %q, but the view has only tables of %s", name, strings.Join(names, ", "))
		}
	}
}

func scheduled(s *Schedule) *yaml.Node {
	if s == nil {
		return nil
	}
	var databases *yaml.Node
	if len(s.Databases) > 0 {
		databases = list(s.Databases)
	}
	node := mapping("every", text(brief(s.Every)), "full", text(brief(s.Full)), "overlap", text(brief(s.Overlap)), "databases", databases)
	node.Style = yaml.FlowStyle
	return node
}
