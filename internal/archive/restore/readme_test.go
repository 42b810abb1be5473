package restore_test

import (
	"os/exec"
	"path"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestReadme: the command in an archive's README that creates the roles is right for its compression.
func TestReadme(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	identity, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	for name, options := range map[string]base.Options{
		"Encrypted":      {Compression: store.Gzip, Recipients: []string{identity.Recipient().String()}},
		"EncryptedPlain": {Recipients: []string{identity.Recipient().String()}},
		"Gzip":           {Compression: store.Gzip},
		"Plain":          {},
		"Zstd":           {Compression: store.Zstd},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &testBundle{server: server, db: application(t, server), options: options}
			b.begin(t)
			archive := b.chain(t)
			globals := archive.Bases[0].Globals.Name
			_, line, _ := strings.Cut(read(t, path.Join(b.archive, "README.md")), "as a superuser, into a database that is empty:\n\n")
			command, _, _ := strings.Cut(line, "#")
			command = strings.TrimSpace(strings.ReplaceAll(command, "POSITION", path.Base(path.Dir(globals))))
			if len(options.Recipients) == 0 {
				shell := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(command, "psql -d postgres", "grep CREATE", 1))
				shell.Dir = b.archive
				output, err := shell.CombinedOutput()
				require.NoError(t, err, string(output))
				require.Contains(t, string(output), "CREATE ROLE")
				return
			}
			require.Contains(t, command, "age -d -i key.txt "+globals+" |")
			require.Equal(t, options.Compression == store.Gzip, strings.HasSuffix(command, "| gzip -dc | psql -d postgres"), command)
		})
	}
}
