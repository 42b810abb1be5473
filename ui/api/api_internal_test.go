package api

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAPIDocument: every call that is served is documented, and every documented call is served.
func TestAPIDocument(t *testing.T) {
	t.Parallel()
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string                 `json:"operationId"` //nolint:tagliatelle // OpenAPI's.
			Security    *[]map[string][]string `json:"security"`
			Responses   map[string]any         `json:"responses"`
		} `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(openAPI, &doc))
	served, documented := map[string]string{}, map[string]string{}
	for _, route := range (&API{}).apiRoutes() {
		served[route.method+" "+route.path] = map[apiAccess]string{byUser: "user", byCron: "cron", byAnyone: "anyone"}[route.access]
	}
	for path, methods := range doc.Paths {
		for method, operation := range methods {
			access := "user"
			if operation.Security != nil {
				access = "anyone"
				for _, scheme := range *operation.Security {
					require.Contains(t, scheme, "cronSecret")
					access = "cron"
				}
			}
			documented[strings.ToUpper(method)+" "+path] = access
			require.NotEmpty(t, operation.OperationID)
			if access != "anyone" {
				require.Contains(t, operation.Responses, "401")
			}
			if method == "post" {
				for _, status := range []string{"400", "403", "413", "415", "422"} {
					require.Contains(t, operation.Responses, status, path)
				}
			}
		}
	}
	require.Equal(t, served, documented)
}
