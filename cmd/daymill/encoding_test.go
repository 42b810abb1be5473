package main

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestEncoding: text is published in the order of its bytes, which is Postgres's order only in UTF8: every other encoding is refused.
func TestEncoding(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"LATIN9", "SQL_ASCII", "WIN1251"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Empty(t)
			name := db.Name + "_" + encoding
			quoted := pgx.Identifier{name}.Sanitize()
			_, err := db.Exec(t.Context(), "CREATE DATABASE "+quoted+" TEMPLATE template0 ENCODING '"+encoding+"' LC_COLLATE 'C' LC_CTYPE 'C'")
			require.NoError(t, err)
			for _, args := range [][]string{
				{"migrate", "--entity-type", "text"},
				{"source", "create"},
				{"rollup", "2026-03-01"},
				{"worker"},
				{"verify"},
				{"enqueue", "2026-03-01"},
				{"doctor"},
			} {
				code, _, stderr := command(t.Context(), db.Server.URL(name)+"&client_encoding=UTF8", args...)
				require.NotEqual(t, exitOK, code, args)
				require.Contains(t, stderr, "is "+encoding+": its encoding is not UTF8", args)
				require.Contains(t, stderr, "CREATE DATABASE … ENCODING 'UTF8'", args)
				require.NotContains(t, stderr, "client_encoding", args)
			}
		})
	}
}
