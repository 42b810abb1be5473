// Package doctor shows what keeps Daymill from working.
package doctor

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// Pages is the page of the doctor.
type Pages struct {
	*page.Site

	// Doctor examines the database; if nil, there is no page.
	Doctor *doctor.Shared
}

// Places returns the entry of the navigation.
func (*Pages) Places() []page.Place { return []page.Place{{Name: "Doctor", Path: "doctor"}} }

// Route adds the pages to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	mux.Handle("GET /doctor", s.Page(s.showDoctor))
}

// doctorView is the page of the doctor.
type doctorView struct {
	At   time.Time // when the examination began; zero if there was none yet
	Took time.Duration
	// Under reports whether a newer examination is running.
	Under  bool
	After  string // the query value that asks for an examination later than this one
	With   []string
	Counts []doctorCount
	Groups []doctorGroup
}

// doctorCount is the number of findings of a level.
type doctorCount struct{ Level, Count string }

// doctorGroup is the findings of a level.
type doctorGroup struct {
	Level, Title string
	Findings     []doctorFinding
}

type doctorFinding struct{ About, Sentence, Fix string }

// doctorLevels returns the levels with their meaning, worst first.
func doctorLevels() []doctorGroup {
	return []doctorGroup{
		{Level: string(doctor.Failure), Title: "Failures: until they are fixed, dates are not exact or not rolled up"},
		{Level: string(doctor.Warning), Title: "Warnings: they can cause trouble later"},
		{Level: string(doctor.Note), Title: "Notes: nothing to do"},
		{Level: string(doctor.OK), Title: "OK"},
	}
}

// showDoctor shows the latest examination. It starts another one if the latest is older than a minute, or if the visitor has already seen it.
// Refreshes of a fragment never start one.
func (s *Pages) showDoctor(w http.ResponseWriter, r *http.Request) error {
	if s.Doctor == nil {
		return page.ErrNotFound
	}
	var after time.Time
	if n, err := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64); err == nil {
		after = time.UnixMilli(n)
	}
	var examined doctor.Examined
	good := true
	if r.Method == http.MethodHead || page.FragmentOf(r) != "" {
		examined = s.Doctor.Last()
	} else {
		examined, good = s.Doctor.Get(r.Context(), after)
	}
	return s.Render(w, r, http.StatusOK, "Doctor", doctorPage(newDoctorView(examined, good)))
}

func newDoctorView(examined doctor.Examined, good bool) doctorView {
	view := doctorView{At: examined.At, Took: examined.Took, Under: !good}
	if examined.At.IsZero() {
		return view
	}
	// Round up: the URL has milliseconds, and the time is more precise.
	view.After = strconv.FormatInt(examined.At.Add(time.Millisecond).UnixMilli(), 10)
	if examined.Role != "" {
		view.With = append(view.With, "as the role "+format.Shortened(examined.Role, 80)+", in the database "+format.Shortened(examined.Database, 80))
	}
	if examined.Pooled {
		view.With = append(view.With, "through a pooler in transaction mode")
	} else {
		view.With = append(view.With, "without a pooler in transaction mode")
	}
	switch examined.Followers {
	case 0:
	case 1:
		view.With = append(view.With, "and on the follower that events are read from")
	default:
		view.With = append(view.With, "and on the followers that events are read from")
	}
	for _, group := range doctorLevels() {
		for _, f := range examined.Findings {
			if string(f.Level) != group.Level {
				continue
			}
			one := doctorFinding{About: strings.ReplaceAll(f.ID, "_", " "), Sentence: doctorSentence(f.Sentence)}
			if f.Level != doctor.OK {
				one.Fix = f.Fix
			}
			group.Findings = append(group.Findings, one)
		}
		view.Counts = append(view.Counts, doctorCount{Level: group.Level, Count: format.Number(int64(len(group.Findings)))})
		if len(group.Findings) > 0 {
			view.Groups = append(view.Groups, group)
		}
	}
	return view
}

// doctorSentence makes a sentence of a finding's text. It does not capitalize a table or setting name at the beginning.
func doctorSentence(text string) string {
	if first, _, _ := strings.Cut(text, " "); strings.ContainsAny(first, "_.\"(") {
		return strings.TrimSuffix(text, ".") + "."
	}
	return page.Sentence(text)
}
