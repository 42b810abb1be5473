package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestArchiveProof: somebody alters a segment. Nobody asks for a proof: the schedule makes one, and the page and an alert name the file.
func TestArchiveProof(t *testing.T) {
	received := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received <- string(body)
	}))
	t.Cleanup(receiver.Close)
	t.Setenv("OPS_URL", receiver.URL) // A channel has the name of a variable, not an address.
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	db := pgtest.On(t, server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	db.RawEvents(t)
	dir := filepath.Join(t.TempDir(), "archive")
	address := (&url.URL{Scheme: "file", Path: dir}).String()
	file := filepath.Join(t.TempDir(), "daymill.yaml")
	require.NoError(t, os.WriteFile(file, []byte("alerts: {after: 0s, channels: [{name: ops, kind: webhook, url: $OPS_URL, allow_private: true}]}"), 0o600))
	requireOK(t, db.URL, "apply", "-f", file)
	requireOK(t, db.URL, "archive", "--archive", address, "init")
	place, err := store.Directory(dir)
	require.NoError(t, err)
	archive := func() chain.Chain {
		archive, err := chain.Read(t.Context(), place)
		require.NoError(t, err)
		return archive
	}
	// serve runs everything that an installation runs, until the archive has as many proofs, and calls then.
	serve := func(proofs int, every string, then func(pages string)) {
		p := start(t, "serve", "--database-url", db.URL, "--listen", "127.0.0.1:0", "--admin-password", "correct horse", "--pace", "0",
			"--archive", address, "--archive-segment-age", "1s", "--archive-scratch", server.URL("postgres"), "--archive-prove-every", every)
		pages := p.address(t, &p.stderr, `address=(http://127\.0\.0\.1:\d+/)`)
		require.Eventually(t, func() bool {
			read := archive()
			return len(read.Proofs) >= proofs && len(read.After(read.Bases[0])) > 0
		}, waitFor, tick, p.stderr.String())
		then(pages)
		require.Equal(t, exitOK, p.stop(t), p.stderr.String())
	}
	serve(1, "24h", func(pages string) {
		require.Empty(t, archive().Proofs[0].Failure)
		_, page := send(t, http.MethodGet, pages+"archive", nil)
		require.NotContains(t, page, "The last proof of the archive failed")
	})

	sealed := archive()
	name := sealed.After(sealed.Bases[0])[0].File.Name
	content, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	content[len(content)/2] ^= 1
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))

	sentence := "last proof of the archive failed: it cannot be restored: " + name + " was modified after it was written: its checksum differs"
	serve(2, "1s", func(pages string) {
		for told := ""; !strings.Contains(told, `"finding":"archive_proof"`); {
			select {
			case told = <-received:
			case <-time.After(waitFor):
				require.Fail(t, "nobody told that the proof has failed")
			}
			if strings.Contains(told, `"finding":"archive_proof"`) {
				require.Contains(t, told, "alert.open")
				require.Contains(t, told, sentence)
			}
		}
		_, page := send(t, http.MethodGet, pages+"archive", nil)
		require.Contains(t, page, "The "+sentence)
		_, page = send(t, http.MethodGet, pages, nil)
		require.Contains(t, page, "The "+sentence, "the overview")
	})
	require.Contains(t, requireOK(t, db.URL, "alert", "list"), sentence)
	var requested int
	require.NoError(t, db.QueryRow(t.Context(), "SELECT count(*) FROM daymill.audit WHERE action = 'start prove_archive'").Scan(&requested))
	require.Zero(t, requested, "proofs that somebody asked for")
}
