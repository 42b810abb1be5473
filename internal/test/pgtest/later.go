package pgtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pgserver"
)

// LaterEnv is the environment variable that names the directory of a later server's programs.
const LaterEnv = "DAYMILL_PG_LATER"

// laterFile has the checksum and the name of the npm package that internal/test/setup-later fetches.
//
//go:embed later.sha256
var laterFile string

// Later starts a cluster of a later Postgres than a distribution has, for tests of what another version reads. It has no psql and no pg_dump.
func Later(tb testing.TB) *pgserver.Server {
	tb.Helper()
	dir := os.Getenv(LaterEnv)
	if dir == "" {
		dir = unpackLater(tb)
	}
	binaries, err := pgserver.At(tb.Context(), dir)
	require.NoError(tb, err)
	server, err := pgserver.Start(tb.Context(), pgserver.Config{Binaries: binaries, Settings: settings(), InMemory: true})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, server.Close()) })
	return server
}

// unpackLater unpacks the npm package, and returns the directory of its programs.
func unpackLater(tb testing.TB) string {
	tb.Helper()
	sum, name, found := strings.Cut(strings.TrimSpace(laterFile), "  ")
	require.True(tb, found)
	packed, err := os.ReadFile(filepath.Join(Root(tb), "tmp", name))
	require.NoError(tb, err, "make setup fetches it for 64-bit Linux on x86; elsewhere, let %s name the directory of the programs of Postgres 18", LaterEnv)
	have := sha256.Sum256(packed)
	require.Equal(tb, sum, hex.EncodeToString(have[:]), "the checksum of %s is wrong: delete it, and run make setup", name)

	dir, err := os.MkdirTemp("", "daymill-later-") //nolint:usetesting // Only this user may enter the directories of tests.
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(tb, os.Chmod(dir, 0o755)) //nolint:gosec // Root does not run Postgres itself: another user reads the programs.
	unzipped, err := gzip.NewReader(bytes.NewReader(packed))
	require.NoError(tb, err)
	reader := tar.NewReader(unzipped)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(tb, err)
		path := filepath.Join(dir, header.Name)                     //nolint:gosec // The checksum is known.
		require.NoError(tb, os.MkdirAll(filepath.Dir(path), 0o755)) //nolint:gosec // See above.
		file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, header.FileInfo().Mode())
		require.NoError(tb, err)
		_, err = io.Copy(file, reader) //nolint:gosec // The checksum is known.
		require.NoError(tb, errors.Join(err, file.Close()))
	}
	// npm packages have no links. This one lists those of its libraries.
	unpacked := filepath.Join(dir, "package")
	listed, err := os.ReadFile(filepath.Join(unpacked, "native/pg-symlinks.json"))
	require.NoError(tb, err)
	var links []struct {
		Source string `json:"source"`
		Target string `json:"target"`
	}
	require.NoError(tb, json.Unmarshal(listed, &links))
	for _, link := range links {
		require.NoError(tb, os.Symlink(filepath.Base(link.Source), filepath.Join(unpacked, link.Target)))
	}
	return filepath.Join(unpacked, "native/bin")
}
