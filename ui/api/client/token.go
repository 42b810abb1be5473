// Package client calls the HTTP API of `daymill web`. All but the token is generated from ui/api/openapi.json: a call has the name of its operationId
// and WithResponse, and its response has a field for each status.
package client

import (
	"context"
	"net/http"
)

// WithToken makes a client send a bearer token: DAYMILL_API_TOKEN of the web process, or a token that `daymill user token` has made.
func WithToken(token string) ClientOption {
	return WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+token)
		return nil
	})
}
