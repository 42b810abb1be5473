package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestArchivePlace: a location that is not an archive is named in one sentence, and nothing but init creates it.
func TestArchivePlace(t *testing.T) {
	t.Parallel()
	a := newArchived(t)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for location, want := range map[string]string{
		"backups/app":               "write it as file:///backups/app",
		"file:backups/app":          "write it as file:///backups/app",
		"file://backups/app":        "the archive's URL names the host backups: write file:///backups/app for a directory",
		"file://" + file:            file + " is a file: name a directory for the archive",
		"ftp://u:secret@host/x":     "write it as file:///backups/app",
		"s3://u:secret%zz@bucket/x": "write it as file:///backups/app",
	} {
		code, _, stderr := command(t.Context(), a.URL, "archive", "--archive", location, "verify")
		require.Equal(t, exitUsage, code, location)
		require.Contains(t, stderr, want, location)
		require.NotContains(t, stderr, "secret", location)
	}
	whole := a.dir
	a.dir = filepath.Join(t.TempDir(), "mistyped", "app")
	for _, verb := range []string{"run", "base", "status", "verify", "restore --into " + a.URL, "prove --scratch " + a.URL, "prune", "prune --dry-run", "remove"} {
		a.fails(t, "there is no archive there: correct DAYMILL_ARCHIVE or --archive, or run daymill archive init", strings.Fields(verb)...)
	}
	require.NoDirExists(t, filepath.Dir(a.dir))
	a.dir = whole
	a.ok(t, "verify")
	for at, want := range map[string]string{
		"":                     `--at is "", which is neither a time such as`,
		"0/0":                  "the archive begins at ",
		"2020-01-01T00:00:00Z": "choose a position or time between them",
		"FF/0":                 "the archive ends at ",
		"yesterday":            `--at is "yesterday", which is neither a time such as`,
	} {
		a.fails(t, want, "restore", "--into", a.URL, "--at", at)
	}
}
