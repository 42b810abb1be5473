package comparison

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestChunk_Names: columns may have the names that the statements use.
func TestChunk_Names(t *testing.T) {
	t.Parallel()
	db := pgtest.Empty(t)
	db.Do(t, "CREATE TABLE public.named (id integer PRIMARY KEY, r integer, t integer, k integer); INSERT INTO public.named VALUES (1, 2, 3, 4)")
	names := []string{"id", "r", "t", "k"}
	s := side{db: db.DB, name: "public.named", key: names[:1], columns: names[1:], called: names}
	rows, order, err := s.chunk(t.Context(), "", 10)
	require.NoError(t, err)
	require.Equal(t, []string{"[1]"}, order)
	require.JSONEq(t, `{"id": 1, "r": 2, "t": 3, "k": 4}`, rows["[1]"].document)
}
