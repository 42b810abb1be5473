package stream_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestTrigger_Restored: a source that became an older copy of its disk is a gap, although it has used more transaction ids than were read
// when the owner sees it again.
func TestTrigger_Restored(t *testing.T) {
	t.Parallel()
	b := setup(t)
	server := pgtest.Server(t, nil)
	source := pgtest.On(t, server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	source.Do(t, simple)
	owner := b.owner("app", stream.ModeTrigger)
	owner.Source, owner.SourceURL = source.DB, source.URL
	backup := filepath.Join(t.TempDir(), "backup")
	replace := func(from, to string) {
		t.Helper()
		require.NoError(t, server.Stop(t.Context(), pgserver.Fast))
		require.NoError(t, os.RemoveAll(to))
		output, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput()
		require.NoError(t, err, string(output))
		require.NoError(t, server.Start(t.Context()))
		source.Reset() // The restart closed its connections.
	}
	landed := func(id string) {
		t.Helper()
		b.wait(t, "SELECT EXISTS (SELECT FROM capture.log WHERE table_name = 't' AND key ->> 'id' = $1)", id)
	}
	stop := b.start(t, owner)
	source.Do(t, "INSERT INTO app.t VALUES (1)")
	landed("1")
	stop()
	replace(server.DataDir(), backup)
	stop = b.start(t, owner)
	source.Do(t, "INSERT INTO app.t VALUES (2)")
	landed("2")
	require.Empty(t, b.gaps(t, "app"), "a restart is none")
	stop()

	replace(backup, server.DataDir())
	source.Do(t, "INSERT INTO app.t VALUES (3)")
	for range 100 {
		source.Do(t, "SELECT pg_current_xact_id()")
	}
	b.start(t, owner)
	b.running(t, 1)
	require.Equal(t, []string{"restore "}, b.gaps(t, "app"))
	source.Do(t, "INSERT INTO app.t VALUES (4)")
	landed("4")
}
