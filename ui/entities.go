package ui

import "net/http"

func (s *site) routeEntities(mux *http.ServeMux) {
	mux.Handle("GET /entities", s.page(s.showEntities))
}

func (s *site) showEntities(w http.ResponseWriter, r *http.Request) error {
	return s.render(w, r, http.StatusOK, "Entities", entitiesPage())
}
