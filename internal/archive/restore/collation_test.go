package restore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestCollation changes rows of a table without a key that are equal by their collation, but not the same.
func TestCollation(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_wal_senders": "30", "max_replication_slots": "30"})
	b := &testBundle{server: server, db: application(t, server)}
	b.psql(t, "-c", "CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
		"-c", "CREATE DOMAIN word AS text COLLATE blind", "-c", "CREATE TABLE keyless (t text COLLATE blind, v varchar(9) COLLATE blind, w word)")
	b.begin(t)
	stop := b.run(t, 0)
	b.psql(t, "-c", "INSERT INTO keyless VALUES ('a', 'x', 'p'), ('A', 'x', 'p'), ('a', 'X', 'p'), ('a', 'x', 'P')",
		"-c", "UPDATE keyless SET t = 'b' WHERE ctid = '(0,2)'", "-c", "DELETE FROM keyless WHERE v COLLATE \"C\" = 'X'", "-c", "DELETE FROM keyless WHERE w::text COLLATE \"C\" = 'P'")
	b.caughtUp(t)
	stop()
	into := b.restored(t, restore.Config{})
	require.Equal(t, "axp,bxp", b.value(t, into, `SELECT string_agg(concat(t, v, w), ',' ORDER BY concat(t, v, w) COLLATE "C") FROM keyless`))
	b.equal(t, into)
}
