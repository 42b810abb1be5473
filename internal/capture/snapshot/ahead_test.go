package snapshot_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/signal"
	"github.com/daymill/daymill/internal/capture/stream"
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
			b.configure(t, "app.item")
			b.own(t)
			b.consumer(t, "copy")
			b.request(t, "copy")
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
