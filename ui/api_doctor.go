package ui

import (
	"net/http"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/doctor"
)

// apiExamine returns the findings in the order of `daymill doctor --json`.
func (s *site) apiExamine(w http.ResponseWriter, r *http.Request) error {
	if s.doctor == nil {
		return apiError{http.StatusNotFound, "This process has no doctor."}
	}
	examined, good := s.doctor.Get(r.Context(), time.Time{})
	if !good {
		w.Header().Set("Retry-After", "5")
		return apiError{http.StatusServiceUnavailable, "The examination takes longer than usual: try again in a few seconds."}
	}
	w.Header().Set("Last-Modified", examined.At.UTC().Format(http.TimeFormat))
	findings := slices.Clone(examined.Findings)
	if findings == nil {
		findings = []doctor.Finding{}
	}
	writeJSON(w, "application/json", http.StatusOK, findings)
	return nil
}
