package snapshot_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/signal"
	"github.com/daymill/daymill/internal/capture/snapshot"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/telemetry"
)

// TestAhead: a chunk that was read ahead is not appended if another worker has appended it in the meantime, or if the table has other
// columns by then.
func TestAhead(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(t *testing.T, b *testBundle){
		"AnotherWorker": func(t *testing.T, b *testBundle) {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			chunks := 0
			err := b.listen(ctx, func(_ context.Context, s telemetry.Signal) {
				if _, is := s.(signal.Chunk); is {
					if chunks++; chunks == 3 {
						cancel()
					}
				}
			})
			require.ErrorIs(t, err, context.Canceled)
		},
		"Columns": func(t *testing.T, b *testBundle) {
			t.Helper()
			b.Do(t, "ALTER TABLE app.item ADD added integer DEFAULT 7")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, stream.ModeTrigger)
			b.begin(t, "app.item")
			ended := 0
			require.NoError(t, b.listen(t.Context(), func(_ context.Context, s telemetry.Signal) {
				if _, is := s.(signal.Chunk); is {
					if ended++; ended == 1 {
						meanwhile(t, b)
					}
				}
			}))
			b.complete(t)
			var rows, ids, read, without int
			require.NoError(t, b.QueryRow(t.Context(), `SELECT count(*), count(DISTINCT key::text), max(n.rows), count(*) FILTER (WHERE new ->> 'added' IS NULL)
				FROM capture.log, (SELECT rows FROM capture.snapshot) AS n WHERE op = 'insert' AND snapshot`).Scan(&rows, &ids, &read, &without))
			require.Equal(t, []int{2000, 2000, 2000}, []int{rows, ids, read})
			if name == "Columns" {
				require.Equal(t, 100, without, "only the first chunk")
			}
		})
	}
}

// TestAhead_Pace: only a run without pauses reads ahead. A chunk that it cannot use, because the table has other columns by then, shows that.
func TestAhead_Pace(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		pace pace.Speed
		more int // reads than chunks
	}{
		"None": {nil, 1}, "Zero": {pace.Fixed(0), 1}, "Pauses": {pace.Fixed(0.01), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, stream.ModeTrigger)
			b.begin(t, "app.item")
			chunks := 0
			_, err := snapshot.Run(t.Context(), snapshot.Config{
				DB: b.DB.DB, Source: b.DB.DB, Stream: "app", Rows: 500, Pace: want.pace,
				Listeners: telemetry.Listeners{listener(func(_ context.Context, s telemetry.Signal) {
					if _, is := s.(signal.Chunk); is {
						if chunks++; chunks == 1 {
							b.Do(t, "ALTER TABLE app.item ADD added integer")
						}
					}
				})},
			})
			require.NoError(t, err)
			log, err := os.ReadFile(b.Server.LogFile())
			require.NoError(t, err)
			require.Equal(t, chunks+want.more, strings.Count(string(log), `FROM "app"."item" AS n`))
		})
	}
}
