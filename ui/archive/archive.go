// Package archive has the page of the archive: what it covers, its bases and segments, the last proofs, and
// what is wrong with it.
package archive

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// shown is how many segments, bases, gaps and proofs a page shows, the newest first.
const shown = 25

// Pages are the pages of the archive. There are none if Archive is nil.
type Pages struct {
	*page.Site

	Archive *standing.Source
}

// Places returns the entry of the navigation.
func (s *Pages) Places() []page.Place {
	if s.Archive == nil {
		return nil
	}
	return []page.Place{{Name: "Archive", Path: "archive"}}
}

// Route adds the pages to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	if s.Archive == nil {
		return
	}
	mux.Handle("GET /archive", s.Page(s.show))
	mux.Handle("POST /archive", s.Page(s.change))
}

// view is the page of the archive.
type view struct {
	Database, Retained   string
	Read                 bool // whether a process archives
	Since, Last          time.Time
	Position             string
	Findings             []health.Finding
	Bases                []chain.Base
	Segments             []segment.Seal
	Gaps                 []chain.Gap
	Proofs               []chain.Proof
	AllSegments          int
	Bytes, Text, InBases int64
}

func (s *Pages) show(w http.ResponseWriter, r *http.Request) error {
	facts, err := s.Archive.Read(r.Context(), s.DB, s.Clock.Now())
	if err != nil {
		return err
	}
	return s.Render(w, r, http.StatusOK, "Archive", archivePage(newView(facts)))
}

func newView(facts standing.Facts) view {
	archive := facts.Chain
	v := view{
		Database: archive.Manifest.Database, Read: facts.Slot.Active, Retained: format.Bytes(facts.Slot.Retained), Since: archive.Since(),
		Findings: health.Judge(facts.Checks()), AllSegments: len(archive.Segments),
		Bases: newest(archive.Bases), Segments: newest(archive.Segments), Gaps: newest(archive.Gaps), Proofs: newest(archive.Proofs),
	}
	if facts.Unreadable == nil {
		v.Position, v.Last = archive.Written()
	}
	for _, one := range archive.Segments {
		v.Text += one.Text
	}
	v.InBases, v.Bytes = standing.Bytes(&archive)
	return v
}

func newest[T any](all []T) []T {
	last := slices.Clone(all[max(0, len(all)-shown):])
	slices.Reverse(last)
	return last
}

// change inserts a job.
func (s *Pages) change(w http.ResponseWriter, r *http.Request) error {
	action := r.PostFormValue("action")
	if action != "base" && action != "prove" {
		return page.Mistake(errors.New("the action must be base or prove"))
	}
	inserted, err := s.Jobs.ArchiveJob(r.Context(), action == "prove", audit.Who{Actor: door.User(r.Context()), Via: audit.ViaWeb})
	if err != nil {
		return err
	}
	notice := "requested"
	if !inserted {
		notice = "requested-already"
	}
	s.Done(w, r, notice, nil, "archive")
	return nil
}
