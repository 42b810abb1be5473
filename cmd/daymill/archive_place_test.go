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

// TestArchiveValues: wrong values of flags and servers that cannot be used are named in one sentence, at once, and without passwords.
func TestArchiveValues(t *testing.T) {
	t.Parallel()
	a := newArchived(t)
	const unreachable = "postgres://u:secret@127.0.0.1:1/x"
	for line, want := range map[string]string{
		"init --recipient age1x":                 "is not an age public key",
		"prove --scratch " + a.URL + " --jobs 0": "--jobs is 0: give at least 1",
		"prove --scratch notaurl":                "the scratch server must be a URL such as",
		"prove --scratch " + unreachable:         "the scratch server cannot be used: the database cannot be reached",
		"prune --keep-bases=-1h":                 "--keep-segments, --keep-bases or --keep-monthly is negative",
		"restore --into=":                        "--into is empty",
		"restore --into " + unreachable:          "the database cannot be reached",
		"restore --into " + a.URL + " --jobs 0":  "--jobs is 0: give at least 1",
	} {
		a.fails(t, want, strings.Fields(line)...)
	}
	for location, want := range map[string]string{
		"s3://backups/app?region=us-east-1&anonymous=true&use_path_style=true&endpoint=http://u:secret@127.0.0.1:1": "the archive's bucket backups cannot be reached: dial tcp 127.0.0.1:1",
		"s3://backups/app?regon=x&endpoint=http://u:secret@127.0.0.1:1":                                             "unknown query parameter",
	} {
		code, _, stderr := command(t.Context(), a.URL, "archive", "--archive", location, "status")
		require.NotEqual(t, exitOK, code)
		require.Contains(t, stderr, want)
		require.NotContains(t, stderr, "secret")
	}
	manifest := filepath.Join(a.dir, "manifest.json")
	content, err := os.ReadFile(manifest)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(manifest, []byte(strings.Replace(string(content), `"format": 2`, `"format": 3`, 1)), 0o600))
	a.fails(t, "the archive has format 3, but this version of Daymill reads format 2: use a newer version", "verify")
}
