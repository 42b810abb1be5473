package run_test

import (
	"crypto/rand"
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/batch"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestLongEntity: if an entity is too long for an index, the error says so, and how to fix it.
func TestLongEntity(t *testing.T) {
	t.Parallel()
	b := setup(t, pgtest.Installed{EntityType: entity.Text, TimeZone: "UTC"})
	long := make([]byte, 4000) // Random, so that Postgres cannot compress it.
	_, err := rand.Read(long)
	require.NoError(t, err)
	b.db.Insert(t, pgtest.Event{Entity: hex.EncodeToString(long), Type: "view", At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)})
	b.request(t, day)
	_, err = b.runner.Run(t.Context(), run.Order{Date: day})
	require.ErrorIs(t, err, batch.ErrTooLong)
	require.ErrorContains(t, err, "--where 'octet_length(ENTITY) <= 2000'")
	require.Equal(t, "retrying", b.state(t, day))
}
