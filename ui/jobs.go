package ui

import "net/http"

func (s *site) routeJobs(mux *http.ServeMux) {
	mux.Handle("GET /jobs", s.page(s.showJobs))
}

func (s *site) showJobs(w http.ResponseWriter, r *http.Request) error {
	return s.render(w, r, http.StatusOK, "Jobs", jobsPage())
}
