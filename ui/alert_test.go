package ui_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/alert"
	"github.com/daymill/daymill/internal/alert/channel"
	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/ui"
	"github.com/daymill/daymill/ui/door"
)

// TestAlerts: an admin tests a channel from the page, and sees why a message could not be sent.
func TestAlerts(t *testing.T) {
	t.Parallel()
	var received atomic.Int64
	status := http.StatusOK
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		received.Add(1)
		w.WriteHeader(status)
	}))
	t.Cleanup(receiver.Close)
	db := database(t)
	editor, err := door.NewAccount("edith", door.Editor, "a password of edith")
	require.NoError(t, err)
	keeper := &alert.Keeper{
		DB: db.DB, Every: 1,
		Findings: func(context.Context) ([]health.Finding, error) {
			return []health.Finding{{Check: "failed", Level: health.Bad, Rank: health.Broken, Sentence: "<b>A date</b> failed"}}, nil
		},
		Env: channel.Environment{Clock: pace.SystemClock{}, Lookup: func(string) (string, bool) { return receiver.URL + "/hunter2secret", true }},
	}
	s := serve(t, db, func(c *ui.Config) {
		c.Alerts = keeper
		c.Access.Accounts = []door.Account{editor}
	})
	require.Contains(t, s.get(t, "/alerts").body, "Nobody is told")
	require.NoError(t, db.Tx(t.Context(), func(tx pgx.Tx) error {
		_, err := alert.Apply(t.Context(), tx, alert.Wanted{NoWorker: alert.DefaultNoWorker, Channels: []alert.Channel{
			{Name: "ops", Kind: channel.Slack, Level: health.Wait, Settings: channel.Settings{URL: "$OPS", AllowPrivate: true}},
		}}, audit.Who{Via: audit.ViaCLI})
		return err
	}))
	require.NoError(t, keeper.Round(t.Context()))
	page := s.get(t, "/alerts")
	require.Contains(t, page.body, `action="/alerts/ops/test"`)
	require.Contains(t, page.body, "&lt;b&gt;A date&lt;/b&gt; failed.")
	require.EqualValues(t, 1, received.Load())

	viewed := s.do(t, s.request(t, "viewer", http.MethodGet, "/alerts", ""))
	require.Equal(t, http.StatusOK, viewed.status)
	require.NotContains(t, viewed.body, "/alerts/ops/test")
	require.Equal(t, http.StatusForbidden, s.do(t, s.request(t, "viewer", http.MethodPost, "/alerts/ops/test", "")).status)
	asEditor := s.request(t, "", http.MethodPost, "/alerts/ops/test", "")
	asEditor.SetBasicAuth("edith", "a password of edith")
	require.Contains(t, s.do(t, asEditor).body, "Only an admin may test a channel")
	foreign := s.request(t, "admin", http.MethodPost, "/alerts/ops/test", "")
	foreign.Header.Set("Sec-Fetch-Site", "cross-site")
	require.Equal(t, http.StatusForbidden, s.do(t, foreign).status)
	require.EqualValues(t, 1, received.Load())

	tested := s.post(t, "/alerts/ops/test", "")
	require.Equal(t, http.StatusSeeOther, tested.status)
	require.Equal(t, "tested", tested.notice())
	require.EqualValues(t, 2, received.Load())
	again := s.post(t, "/alerts/ops/test", "")
	require.Equal(t, http.StatusUnprocessableEntity, again.status)
	require.Contains(t, again.body, "tested a moment ago")
	require.EqualValues(t, 2, received.Load())
	require.Equal(t, http.StatusNotFound, s.post(t, "/alerts/none/test", "").status)

	status = http.StatusGone
	_, err = db.Exec(t.Context(), "UPDATE daymill.alert_messages SET created_at = created_at - interval '1 minute', sent_at = sent_at - interval '1 minute'")
	require.NoError(t, err)
	failing := s.post(t, "/alerts/ops/test", "")
	require.Equal(t, http.StatusUnprocessableEntity, failing.status)
	require.Contains(t, failing.body, "The webhook answered 410 Gone")
	page = s.get(t, "/alerts")
	require.Contains(t, page.body, "could not be sent and was given up: the webhook answered 410 Gone")
	require.NotContains(t, page.body+failing.body, "hunter2secret")
}
