package restore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestTextSettings: the event triggers work whatever the settings of the application's session are, and a restore has the values that the source computed.
func TestTextSettings(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_wal_senders": "30", "max_replication_slots": "30"})
	for name, texts := range map[string][]string{
		"Session": {
			`SET standard_conforming_strings = off; SET quote_all_identifiers = on; SET escape_string_warning = off; SET backslash_quote = on;`,
			`CREATE SCHEMA pgboss; CREATE TABLE pgboss.job (i int, v text DEFAULT 'a\nb'); INSERT INTO pgboss.job VALUES (1); UPDATE pgboss.job SET i = 2; CREATE TABLE wide (at timestamptz DEFAULT now());`,
			`INSERT INTO wide DEFAULT VALUES; ALTER TABLE wide ADD r float8 DEFAULT random(); ALTER TABLE wide ADD n timestamptz DEFAULT now(); ALTER TABLE wide ADD k text DEFAULT 'it\'s';`,
			`CREATE TEMP TABLE passing (i int); CREATE INDEX passed ON passing (i); COMMENT ON TABLE passing IS 'x'; DROP INDEX passed; DROP TABLE passing; CREATE TABLE pgboss.made AS SELECT 1 AS i;`,
			`CREATE TABLE keyed (i int PRIMARY KEY, g int GENERATED ALWAYS AS IDENTITY); INSERT INTO keyed VALUES (1); UPDATE keyed SET g = DEFAULT; DROP TABLE IF EXISTS nothing; SELECT set_config('x.y', 'z', false)`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &testBundle{server: server, db: application(t, server)}
			b.begin(t)
			stop := b.run(t, 0)
			b.psql(t, "-c", "CREATE TABLE kept AS SELECT 1 AS i")
			arguments := make([]string, 0, 2*len(texts)) // One session.
			for _, text := range texts {
				arguments = append(arguments, "-c", text)
			}
			b.psql(t, arguments...)
			b.caughtUp(t)
			stop()
			require.Empty(t, b.chain(t).Gaps)
			b.equal(t, b.restored(t, restore.Config{}))
		})
	}
}
