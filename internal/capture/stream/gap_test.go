package stream_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
)

// TestGap_NotRecorded: while a gap cannot be recorded, what shows it stays: a process that ended in between would otherwise leave no trace
// of it.
func TestGap_NotRecorded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		mode, lose, gap string
	}{
		"Publication": {stream.ModeWAL, "DO $$ BEGIN EXECUTE (SELECT format('ALTER PUBLICATION %I DROP TABLE app.t', pubname) FROM pg_publication); END $$", "publication app.t"},
		"Queue":       {stream.ModeTrigger, "SELECT nextval('daymill_capture.failures')", "queue "},
		"Slot":        {stream.ModeWAL, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots", "slot "},
		"Triggers":    {stream.ModeTrigger, "ALTER TABLE app.t DISABLE TRIGGER USER", "queue app.t"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Do(t, simple)
			b.start(t, b.owner("app", test.mode))()
			b.wait(t, "SELECT count(*) = 0 FROM pg_replication_slots WHERE active") // Postgres notices a closed connection a moment later.
			b.Do(t, test.lose)
			b.Do(t, `INSERT INTO app.t VALUES (1);
				CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no gap can be recorded'; END $$;
				CREATE TRIGGER refuse BEFORE INSERT ON capture.gap FOR EACH ROW EXECUTE FUNCTION public.refuse()`)
			owner := b.owner("app", test.mode)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- owner.Run(ctx) }()
			b.wait(t, "SELECT reason LIKE '%no gap can be recorded%' FROM capture.stream")
			b.Do(t, "DROP TRIGGER refuse ON capture.gap")
			b.wait(t, `WITH marker AS (INSERT INTO app.marker DEFAULT VALUES)
				SELECT EXISTS (SELECT FROM capture.log WHERE table_name = 'marker')`) // It reads what comes after the gap.
			require.Equal(t, []string{test.gap}, b.gaps(t, "app"))
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
		})
	}
}
