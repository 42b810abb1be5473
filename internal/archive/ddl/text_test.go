package ddl_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/ddl"
)

// The archive's list of gaps is not encrypted, and pages and alerts show it.
func TestReader_TextHasNoValues(t *testing.T) {
	t.Parallel()
	reader := &ddl.Reader{}
	for _, query := range []string{"SELECT make('hunter2')", "ALTER ROLE app PASSWORD 'hunter2'; SELECT make()"} {
		_, err := reader.Text(ddl.Message{Tag: "CREATE TABLE", Query: query})
		require.ErrorIs(t, err, ddl.ErrLost)
		require.NotContains(t, err.Error(), "hunter2")
		require.Contains(t, err.Error(), query[:6])
	}
}

// An index that a failed CREATE INDEX CONCURRENTLY has left is not in the archive.
func TestReader_DropIndex(t *testing.T) {
	t.Parallel()
	reader := &ddl.Reader{}
	for _, query := range []string{`DROP INDEX CONCURRENTLY "a b", c`, `drop index if exists "a b", c;`, `DROP INDEX "a b", c`} {
		text, err := reader.Text(ddl.Message{Tag: "DROP INDEX", Query: query})
		require.NoError(t, err)
		require.Equal(t, `DROP INDEX IF EXISTS "a b", c`, text)
	}
}
