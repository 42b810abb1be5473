package ui

import "net/http"

func (s *site) routeSchedule(mux *http.ServeMux) {
	mux.Handle("GET /schedule", s.page(s.showSchedule))
}

func (s *site) showSchedule(w http.ResponseWriter, r *http.Request) error {
	return s.render(w, r, http.StatusOK, "Schedule", schedulePage())
}
