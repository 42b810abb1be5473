package ui_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/ui"
	"github.com/daymill/daymill/ui/door"
)

// TestAPITokens: a program's token has its own name, role and areas, and does not open the pages.
func TestAPITokens(t *testing.T) {
	t.Parallel()
	token := func(name string, role door.Role, areas ...string) (door.Account, callOption) {
		account, token, err := door.NewToken(name, role, areas)
		require.NoError(t, err)
		return account, bearer(token)
	}
	reader, read := token("reader", door.Viewer)
	deploy, start := token("deploy", door.Editor, "backfills", "dates")
	eraser, erase := token("eraser", door.Admin)
	_, foreign := token("foreign", door.Admin)
	a := newAPI(t, database(t), func(c *ui.Config) {
		c.Access = door.Access{Accounts: []door.Account{reader, deploy, eraser}}
	})
	const backfill = `{"from":"2026-02-01","to":"2026-02-03"}`
	for _, c := range []struct {
		method, path, body string
		who                callOption
		status             int
		want               string
	}{
		{"GET", "/api/dates", "", read, 200, ""},
		{"GET", "/api/status", "", read, 200, ""},
		{"POST", "/api/backfills", backfill, read, 403, "A viewer may not change anything."},
		{"GET", "/api/dates", "", start, 200, ""},
		{"POST", "/api/backfills", backfill, start, 201, ""},
		{"GET", "/api/status", "", start, 403, "This token may only call backfills, dates."},
		{"POST", "/api/jobs/cancel", `{"all":true}`, read, 403, "A viewer may not change anything."},
		{"POST", "/api/jobs/cancel", `{"all":true}`, start, 403, "This token may only call backfills, dates."},
		{"POST", "/api/rollups", `{"date":"2026-02-01"}`, start, 403, "This token may only call backfills, dates."},
		{"POST", "/api/backfills", `{"from":"2026-02-04","to":"2026-02-05","erase":true}`, start, 403, "may not erase"},
		{"POST", "/api/backfills", `{"from":"2026-02-04","to":"2026-02-05","erase":true}`, erase, 201, ""},
		{"GET", "/api/dates", "", foreign, 401, ""},
		{"GET", "/api/dates", "", bearer(deploy.Hash), 401, ""},
		{"GET", "/api/dates", "", bearer(""), 401, ""},
		{"GET", "/api/dates", "", basic("deploy", deploy.Hash), 401, ""},
	} {
		answer := a.call(t, c.method, c.path, c.body, c.who)
		require.Equal(t, c.status, answer.status, "%s %s %s", c.method, c.path, answer.body)
		require.Contains(t, answer.body, c.want)
	}
	require.EqualValues(t, 1, a.count(t, "SELECT count(*) FROM daymill.audit WHERE actor = 'deploy' AND via = 'api'"))

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL+"/jobs", nil)
	require.NoError(t, err)
	erase(request)
	closed := a.do(t, request)
	require.Equal(t, http.StatusForbidden, closed.status, "a token does not open the pages")
	require.Contains(t, closed.body, "Nobody can log in here")
}
