package api

import (
	"net/http"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/ui/reply"
)

// apiExamine returns the findings in the order of `daymill doctor --json`.
func (s *API) apiExamine(w http.ResponseWriter, r *http.Request) error {
	if s.Doctor == nil {
		return apiError{http.StatusNotFound, "This process has no doctor."}
	}
	examined, good := s.Doctor.Get(r.Context(), time.Time{})
	if !good {
		w.Header().Set("Retry-After", "5")
		return apiError{http.StatusServiceUnavailable, "The examination takes longer than usual: try again in a few seconds."}
	}
	w.Header().Set("Last-Modified", examined.At.UTC().Format(http.TimeFormat))
	findings := slices.Clone(examined.Findings)
	if findings == nil {
		findings = []doctor.Finding{}
	}
	reply.JSON(w, "application/json", http.StatusOK, findings)
	return nil
}
