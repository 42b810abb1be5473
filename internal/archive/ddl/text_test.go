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
