package ui

import "net/http"

// routeAPI is the API, for those who do not write Go.
func (*site) routeAPI() http.Handler {
	return http.NotFoundHandler()
}
