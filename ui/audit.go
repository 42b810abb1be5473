package ui

import "net/http"

func (s *site) routeAudit(mux *http.ServeMux) {
	mux.Handle("GET /audit", s.page(s.showAudit))
}

func (s *site) showAudit(w http.ResponseWriter, r *http.Request) error {
	return s.render(w, r, http.StatusOK, "Audit", auditPage())
}
