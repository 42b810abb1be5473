package ui_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/ui"
)

// archived writes an archive whose slot is gone, with a gap and a proof that failed.
func archived(t *testing.T, place *store.Store) {
	t.Helper()
	const position, next = "00000000/01000000", "00000000/02000000"
	at := time.Date(2026, time.March, 9, 12, 0, 0, 0, time.UTC)
	ctx := t.Context()
	require.NoError(t, chain.WriteManifest(ctx, place, chain.Manifest{Format: chain.Format, Database: "app", Slot: "gone", From: position, CreatedAt: at}))
	require.NoError(t, chain.AddBase(ctx, place, chain.Base{Position: position, At: at, Reason: "the first", Files: []store.File{{Bytes: 7}}}))
	require.NoError(t, chain.AddGap(ctx, place, chain.Gap{From: next, At: at, Kind: chain.GapSlot, Reason: "a test"}))
	require.NoError(t, chain.AddProof(ctx, place, chain.Proof{At: at, Position: next, Tables: 2, Rows: 3, Failure: "table t differs"}))
	require.NoError(t, place.PutJSON(ctx, segment.Name(position)+".json",
		segment.Seal{From: position, To: next, Transactions: 1, LastCommit: at.Add(time.Hour), File: store.File{Bytes: 5}}))
}

func TestAPIArchive(t *testing.T) {
	t.Parallel()
	type testBundle struct {
		*api

		db    *pgtest.DB
		place *store.Store
	}
	setup := func(t *testing.T) *testBundle {
		t.Helper()
		b := &testBundle{db: pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})}
		var err error
		b.place, err = store.Directory(t.TempDir())
		require.NoError(t, err)
		b.api = newAPI(t, b.db, func(c *ui.Config) { c.Archive = &standing.Source{Store: b.place} })
		return b
	}

	t.Run("None", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}), nil)
		require.Equal(t, http.StatusNotFound, a.call(t, "GET", "/api/archive", "").status)
		require.Equal(t, http.StatusNotFound, a.call(t, "POST", "/api/archive/bases", "{}").status)
		require.Equal(t, http.StatusNotFound, a.call(t, "POST", "/api/archive/proofs", "{}").status)
	})

	t.Run("Request", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		for path, kind := range map[string]string{"bases": "base_archive", "proofs": "prove_archive"} {
			b.requireValid(t, "POST", "/api/archive/"+path, "{}")
			answer := b.call(t, "POST", "/api/archive/"+path, "{}")
			require.Equal(t, http.StatusAccepted, answer.status)
			require.JSONEq(t, `{"requested": true}`, answer.body)
			require.JSONEq(t, `{"requested": false}`, b.call(t, "POST", "/api/archive/"+path, "{}").body)
			var jobs, audited int
			require.NoError(t, b.db.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM daymill.jobs WHERE kind = $1),
				(SELECT count(*) FROM daymill.audit WHERE action = 'start ' || $1)`, kind).Scan(&jobs, &audited))
			require.Equal(t, 1, jobs)
			require.Equal(t, 1, audited)
		}
		require.Equal(t, http.StatusBadRequest, b.call(t, "POST", "/api/archive/bases", `{"other": 1}`).status)
	})

	t.Run("Show", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		answer := b.call(t, "GET", "/api/archive", "")
		require.Equal(t, http.StatusOK, answer.status)
		require.Contains(t, answer.body, "the archive cannot be read: there is no archive there")
		b.db.RawEvents(t)
		b.db.Do(t, workerSQL)
		require.Contains(t, b.get(t, "/").body, "The archive cannot be read: there is no archive there", "the overview has a sentence")

		page := b.get(t, "/archive").body
		require.Contains(t, page, "There is no base yet, so nothing can be restored.")
		require.NotContains(t, page, "<table")
		archived(t, b.place)
		page = b.get(t, "/archive").body
		require.Equal(t, 4, strings.Count(page, "<table"), "proofs, bases, gaps, segments")
		require.Contains(t, page, "The last proof of the archive failed: table t differs.")
		answer = b.call(t, "GET", "/api/archive", "")
		require.JSONEq(t, `{"database": "app", "active": false, "since": "2026-03-09T12:00:00Z", "last_commit": "2026-03-09T13:00:00Z",
			"position": "00000000/02000000", "retained_wal_bytes": 0, "base_bytes": 7, "segment_bytes": 5, "segments": 1,
			"findings": [
				{"level": "bad", "sentence": "the archive was removed from its database: run daymill archive init with another place, or stop archiving"},
				{"level": "bad", "sentence": "the last proof of the archive failed: table t differs"}
			],
			"bases": [{"position": "00000000/01000000", "at": "2026-03-09T12:00:00Z", "reason": "the first", "bytes": 7}],
			"gaps": [{"from": "00000000/02000000", "at": "2026-03-09T12:00:00Z", "kind": "slot", "reason": "a test"}],
			"proofs": [{"at": "2026-03-09T12:00:00Z", "position": "00000000/02000000", "tables": 2, "rows": 3, "failure": "table t differs"}]}`, answer.body)
	})
}
