package segment_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/segment"
)

// TestWhole: a transaction whose end is missing does not count, so it is also not the last one.
func TestWhole(t *testing.T) {
	t.Parallel()
	const whole = "-- Daymill archive, format 2: transactions from 00000000/00000010\n" +
		"BEGIN; -- 00000000/00000020 2026-01-01T00:00:00.000000Z\nTRUNCATE t;\nCOMMIT; -- 00000000/00000030\n"
	path := filepath.Join(t.TempDir(), "segment.sql")
	require.NoError(t, os.WriteFile(path, []byte(whole+"BEGIN; -- 00000000/00000040 2026-01-02T00:00:00.000000Z\nTRUNCATE t;\n"), 0o600))
	size, to, last := segment.Whole(path)
	require.EqualValues(t, len(whole), size)
	require.Equal(t, pglogrepl.LSN(0x30), to)
	require.Equal(t, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), last)
}
