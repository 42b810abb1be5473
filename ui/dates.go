package ui

import "net/http"

func (s *site) routeDates(mux *http.ServeMux) {
	mux.Handle("GET /dates", s.page(s.showDates))
}

func (s *site) showDates(w http.ResponseWriter, r *http.Request) error {
	return s.render(w, r, http.StatusOK, "Dates", datesPage())
}
