package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// archived is a database with an archive.
type archived struct {
	*pgtest.DB

	dir string
}

// newArchived begins an archive of a new database on a server.
func newArchived(t *testing.T) *archived {
	t.Helper()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	a := &archived{DB: pgtest.On(t, server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}), dir: filepath.Join(t.TempDir(), "archive")}
	a.ok(t, "init")
	return a
}

func (a *archived) args(args ...string) []string {
	return append([]string{"archive", "--archive", "file://" + a.dir}, args...)
}

func (a *archived) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return command(t.Context(), a.URL, a.args(args...)...)
}

func (a *archived) ok(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := a.run(t, args...)
	require.Equal(t, exitOK, code, stderr)
	return stdout
}

// fails runs a verb that must fail with one sentence.
func (a *archived) fails(t *testing.T, sentence string, args ...string) (stdout string) {
	t.Helper()
	code, stdout, stderr := a.run(t, args...)
	require.NotEqual(t, exitOK, code, stdout)
	require.Contains(t, stderr, sentence)
	require.Equal(t, 1, strings.Count(stderr, "daymill: "), stderr)
	return stdout
}

// archiver runs `archive run` until it has written a text.
func (a *archived) archiver(t *testing.T, until string) *process {
	t.Helper()
	p := start(t, append([]string{"--database-url", a.URL}, a.args("run")...)...)
	p.says(t, until)
	return p
}

func (p *process) says(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(p.stderr.String(), text) || len(p.code) > 0 }, waitFor, tick)
	require.Contains(t, p.stderr.String(), text)
}

// TestArchiveLife: a second process says that it waits, and takes over; an archive is not removed while a process archives, and the process
// ends if it was removed; status and the doctor say what keeps the database from being archived.
func TestArchiveLife(t *testing.T) {
	t.Parallel()
	a := newArchived(t)
	const nobody = "no process archives the database"
	require.Contains(t, a.fails(t, "the archive is behind, or soon will be", "status"), nobody)
	first := a.archiver(t, "archiving started")
	_, stdout, _ := a.run(t, "status") // The disk may be full.
	require.NotContains(t, stdout, nobody)
	second := a.archiver(t, "another process archives this database")
	a.fails(t, "a process archives this database: stop daymill archive run", "remove")
	require.Equal(t, exitOK, first.stop(t))
	second.says(t, "archiving started")
	require.Equal(t, 1, strings.Count(second.stderr.String(), "another process archives this database"), second.stderr.String())
	place, err := store.Directory(a.dir)
	require.NoError(t, err)
	read := func() chain.Chain {
		archive, err := chain.Read(t.Context(), place)
		require.NoError(t, err)
		return archive
	}
	before := read()
	require.NoError(t, base.Remove(t.Context(), a.DB.DB, before.Manifest.Slot)) // As somebody may do by hand.
	require.Eventually(t, func() bool { return len(second.code) > 0 || len(read().Gaps) > 0 }, waitFor, tick)
	require.Empty(t, read().Gaps)
	require.Equal(t, exitFailed, <-second.code)
	require.Contains(t, second.stderr.String(), "the archive was removed from its database")
	after := read()
	require.Empty(t, after.Gaps)
	require.Len(t, after.Bases, 1)
	for _, verb := range []string{"run", "base"} {
		a.fails(t, "the archive was removed from its database: run daymill archive init with another place", verb)
	}
	require.Contains(t, a.fails(t, "cannot be relied on", "status"), "was removed from its database")
}

// TestArchiveUntriggered: the doctor and status notice that event triggers or the publication are missing, and what they advise works.
func TestArchiveUntriggered(t *testing.T) {
	t.Parallel()
	a := newArchived(t)
	doctor := func() string {
		_, stdout, _ := command(t.Context(), a.URL, "--archive", "file://"+a.dir, "doctor")
		return stdout
	}
	const fine = "event triggers write each schema change to the archive"
	require.Contains(t, doctor(), fine)
	for _, broken := range []string{"ALTER EVENT TRIGGER daymill_archive_ended DISABLE", "DROP EVENT TRIGGER daymill_archive_ended", "DROP SCHEMA daymill_archive CASCADE"} {
		_, err := a.Exec(t.Context(), broken)
		require.NoError(t, err)
		const missing = "event triggers are missing or disabled"
		require.NotContains(t, doctor(), fine)
		require.Contains(t, doctor(), missing)
		require.Contains(t, a.fails(t, "cannot be relied on", "status"), missing)
		a.ok(t, "remove")
		a.dir += "x"
		a.ok(t, "init")
		require.Contains(t, doctor(), fine)
	}
	place, err := store.Directory(a.dir)
	require.NoError(t, err)
	archive, err := chain.Read(t.Context(), place)
	require.NoError(t, err)
	_, err = a.Exec(t.Context(), "DROP PUBLICATION "+archive.Manifest.Slot)
	require.NoError(t, err)
	require.Contains(t, a.fails(t, "cannot be relied on", "status"), "publication is missing")
}
