package stream_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestRefuse: a stream whose database cannot be opened has a reason that names its slot there.
func TestRefuse(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{})
	_, err := db.Exec(t.Context(), "INSERT INTO capture.stream (name, mode, slot) VALUES ('crm', 'wal', 'daymill_crm_1'), ('shop', 'trigger', NULL)")
	require.NoError(t, err)
	for name, guarded := range map[string]bool{"crm": false, "shop": true} {
		require.NoError(t, db.Tx(t.Context(), func(tx pgx.Tx) error {
			return stream.Refuse(t.Context(), tx, name, errors.New("no route to host"))
		}))
		var reason string
		require.NoError(t, db.QueryRow(t.Context(), "SELECT reason FROM capture.stream WHERE name = $1 AND state = 'stopped'", name).Scan(&reason))
		require.Contains(t, reason, "no route to host")
		if guarded {
			require.NotContains(t, reason, "slot")
		} else {
			require.Contains(t, reason, "pg_drop_replication_slot('daymill_crm_1')")
		}
	}
}
