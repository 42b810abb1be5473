package api

import (
	"net/http"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/ui/reply"
)

// archiveShown is how many bases, gaps and proofs an answer has at most, the newest first.
const archiveShown = 100

var errNoArchive = apiError{http.StatusNotFound, "This process was given no archive: set DAYMILL_ARCHIVE."}

type archiveAnswer struct {
	Database string     `json:"database"`
	Active   bool       `json:"active"` // whether a process archives
	Since    *time.Time `json:"since"`  // every time from here to last_commit can be restored, except within gaps
	Last     *time.Time `json:"last_commit"`
	Position string     `json:"position"`

	RetainedWAL  int64 `json:"retained_wal_bytes"`
	BaseBytes    int64 `json:"base_bytes"`
	SegmentBytes int64 `json:"segment_bytes"`
	Segments     int   `json:"segments"`

	Findings []archiveFinding `json:"findings"`
	Bases    []archiveBase    `json:"bases"`
	Gaps     []chain.Gap      `json:"gaps"`
	Proofs   []archiveProof   `json:"proofs"`
}

type archiveFinding struct {
	Level    string `json:"level"`
	Sentence string `json:"sentence"`
}

type archiveBase struct {
	Position string    `json:"position"`
	At       time.Time `json:"at"`
	Reason   string    `json:"reason"`
	Bytes    int64     `json:"bytes"`
}

type archiveProof struct {
	At       time.Time `json:"at"`
	Position string    `json:"position"`
	Tables   int       `json:"tables"`
	Rows     int64     `json:"rows"`
	Failure  string    `json:"failure"` // empty if everything was equal
}

// apiShowArchive returns what the archive covers, and what is wrong with it.
func (s *API) apiShowArchive(w http.ResponseWriter, r *http.Request) error {
	if s.Archive == nil {
		return errNoArchive
	}
	facts, err := s.Archive.Read(r.Context(), s.DB, s.Clock.Now())
	if err != nil {
		return err
	}
	reply.JSON(w, "application/json", http.StatusOK, newArchiveAnswer(facts))
	return nil
}

func newArchiveAnswer(facts standing.Facts) archiveAnswer {
	kept := facts.Chain
	answer := archiveAnswer{
		Database: kept.Manifest.Database, Active: facts.HasSlot && facts.Slot.Active, RetainedWAL: facts.Slot.Retained, Segments: len(kept.Segments),
		Findings: []archiveFinding{},
		Bases:    newest(kept.Bases, func(b chain.Base) archiveBase { return archiveBase{b.Position, b.At, b.Reason, b.Bytes()} }),
		Gaps:     newest(kept.Gaps, func(g chain.Gap) chain.Gap { return g }),
		Proofs: newest(kept.Proofs, func(p chain.Proof) archiveProof {
			return archiveProof{p.At, p.Position, p.Tables, p.Rows, p.Failure}
		}),
	}
	answer.BaseBytes, answer.SegmentBytes = standing.Bytes(&kept)
	if facts.Unreadable == nil {
		var last time.Time
		answer.Position, last = kept.Written()
		answer.Since, answer.Last = known(kept.Since()), known(last)
	}
	for _, found := range health.Judge(facts.Checks()) {
		answer.Findings = append(answer.Findings, archiveFinding{string(found.Level), found.Sentence})
	}
	return answer
}

// known returns nil for the zero time.
func known(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

func newest[T, A any](all []T, answer func(T) A) []A {
	shown := []A{}
	for _, one := range slices.Backward(all[max(0, len(all)-archiveShown):]) {
		shown = append(shown, answer(one))
	}
	return shown
}

type archiveRequested struct {
	Requested bool `json:"requested"` // false if such a job was already waiting or running
}

// apiRequestBase inserts the job that makes a base.
func (s *API) apiRequestBase(w http.ResponseWriter, r *http.Request) error {
	return s.requestArchive(w, r, false)
}

// apiRequestProof inserts the job that restores the archive and compares it with its source.
func (s *API) apiRequestProof(w http.ResponseWriter, r *http.Request) error {
	return s.requestArchive(w, r, true)
}

func (s *API) requestArchive(w http.ResponseWriter, r *http.Request, prove bool) error {
	if s.Archive == nil {
		return errNoArchive
	}
	if err := decode(r, &struct{}{}); err != nil {
		return err
	}
	requested, err := s.Jobs.ArchiveJob(r.Context(), prove, via(r.Context()))
	if err != nil {
		return err
	}
	reply.JSON(w, "application/json", http.StatusAccepted, archiveRequested{requested})
	return nil
}
