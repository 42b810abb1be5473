package ui_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
)

type pollBundle struct {
	*api

	writer *log.Writer
}

func setupPoll(t *testing.T) *pollBundle {
	t.Helper()
	db := database(t)
	b := &pollBundle{api: newAPI(t, db, nil)}
	var err error
	b.writer, err = log.Take(t.Context(), log.Config{DB: db.DB, Stream: "app", Owner: "test"})
	require.NoError(t, err)
	require.NoError(t, db.Tx(t.Context(), func(tx pgx.Tx) error {
		return consumer.Create(t.Context(), tx, consumer.Consumer{Name: "reader", Stream: "app", Kind: "poll"}, 0, audit.Who{Via: audit.ViaCLI})
	}))
	return b
}

func (b *pollBundle) poll(t *testing.T, body string) (poller string, positions []int64) {
	t.Helper()
	answer := b.call(t, "POST", "/api/consumers/reader/poll", body)
	require.Equal(t, http.StatusOK, answer.status, answer.body)
	b.requireValid(t, "POST", "/api/consumers/reader/poll", body)
	var polled struct {
		Poller  string          `json:"poller"`
		Changes []change.Change `json:"changes"`
	}
	require.NoError(t, json.Unmarshal([]byte(answer.body), &polled))
	for _, c := range polled.Changes {
		positions = append(positions, c.Position)
	}
	return polled.Poller, positions
}

func (b *pollBundle) ack(t *testing.T, position int64, poller string) int {
	t.Helper()
	return b.call(t, "POST", "/api/consumers/reader/ack", fmt.Sprintf(`{"position": %d, "poller": %q}`, position, poller)).status
}

func TestAPIConsumers(t *testing.T) {
	t.Parallel()

	t.Run("Access", func(t *testing.T) {
		t.Parallel()
		b := setupPoll(t)
		for _, path := range []string{"/api/consumers/reader/poll", "/api/consumers/reader/ack"} {
			require.Equal(t, http.StatusUnauthorized, b.call(t, "POST", path, "{}", header("Authorization", "")).status)
			require.Equal(t, http.StatusForbidden, b.call(t, "POST", path, "{}", basic("viewer", viewerPassword)).status)
		}
	})

	t.Run("Fenced", func(t *testing.T) {
		t.Parallel()
		b := setupPoll(t)
		require.NoError(t, b.writer.Land(t.Context(), []change.Change{sinktest.Insert(0, 1), sinktest.Delete(0, 1), sinktest.Insert(0, 2)}, log.Mark{}))
		first, positions := b.poll(t, `{"limit": 2}`)
		require.Equal(t, []int64{1, 2}, positions)
		second, none := b.poll(t, `{}`)
		require.Empty(t, none)
		require.NotEqual(t, first, second)
		require.Equal(t, http.StatusConflict, b.ack(t, 2, second))
		require.Equal(t, http.StatusUnprocessableEntity, b.ack(t, 3, first))
		require.Equal(t, http.StatusNoContent, b.ack(t, 2, first))
		again, positions := b.poll(t, fmt.Sprintf(`{"poller": %q, "lease_seconds": 1.5}`, first))
		require.Equal(t, first, again)
		require.Equal(t, []int64{3}, positions)
	})

	t.Run("LongPolling", func(t *testing.T) {
		t.Parallel()
		b := setupPoll(t)
		landed := make(chan error, 1)
		go func() {
			// By then the poll has looked once and found nothing.
			_, err := b.db.Exec(t.Context(), "SELECT pg_sleep(0.5)")
			if err == nil {
				err = b.writer.Land(t.Context(), []change.Change{sinktest.Insert(0, 1)}, log.Mark{})
			}
			landed <- err
		}()
		_, positions := b.poll(t, `{"wait_seconds": 10}`)
		require.Equal(t, []int64{1}, positions)
		require.NoError(t, <-landed)
		_, none := b.poll(t, `{"wait_seconds": 0.01}`)
		require.Empty(t, none)
	})

	t.Run("Mistakes", func(t *testing.T) {
		t.Parallel()
		b := setupPoll(t)
		for body, detail := range map[string]string{
			`{"limit": 0}`: "Limit must be", `{"limit": 10001}`: "Limit must be", `{"lease_seconds": 0}`: "Lease_seconds must be", `{"wait_seconds": 11}`: "Wait_seconds must be",
		} {
			answer := b.call(t, "POST", "/api/consumers/reader/poll", body)
			require.Equal(t, http.StatusUnprocessableEntity, answer.status)
			require.Contains(t, answer.body, detail)
		}
		require.Equal(t, http.StatusNotFound, b.call(t, "POST", "/api/consumers/nobody/poll", "{}").status)
		require.Equal(t, http.StatusNotFound, b.call(t, "POST", "/api/consumers/nobody/ack", `{"position": 1, "poller": "a"}`).status)
		require.Equal(t, http.StatusUnprocessableEntity, b.call(t, "POST", "/api/consumers/reader/ack", `{"position": 1}`).status)
	})
}
