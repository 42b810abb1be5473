package ui

import "net/http"

func (s *site) routeBackfills(mux *http.ServeMux) {
	mux.Handle("GET /backfills", s.page(s.showBackfills))
}

func (s *site) showBackfills(w http.ResponseWriter, r *http.Request) error {
	return s.render(w, r, http.StatusOK, "Backfills", backfillsPage())
}
