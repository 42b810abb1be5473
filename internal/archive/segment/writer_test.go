package segment_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/bucket"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/store"
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

// TestFinish: before a gap, a segment without transactions is deleted, and one whose seal was lost stays.
func TestFinish(t *testing.T) {
	t.Parallel()
	const (
		header = "-- Daymill archive, format 2: transactions from 00000000/00000010\n"
		whole  = header + "BEGIN; -- 00000000/00000020 2026-01-01T00:00:00.000000Z\nTRUNCATE t;\nCOMMIT; -- 00000000/00000030\n"
	)
	for name, test := range map[string]struct {
		content string
		later   bool // another segment follows
		stays   bool
	}{
		"Empty":    {header, false, false},
		"LostSeal": {whole, true, true},
		"Whole":    {whole, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			place, err := bucket.Open(t.Context(), dir)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, place.Close()) })
			require.NoError(t, os.MkdirAll(filepath.Join(dir, segment.Dir), 0o700))
			path := filepath.Join(dir, segment.Name("00000000/00000010"))
			require.NoError(t, os.WriteFile(path, []byte(test.content), 0o600))
			if test.later {
				require.NoError(t, place.PutJSON(t.Context(), segment.Name("00000000/00000030")+".json", segment.Seal{From: "00000000/00000030", To: "00000000/00000040"}))
			}
			require.NoError(t, segment.Finish(t.Context(), place, store.Codec{}))
			if test.stays {
				require.FileExists(t, path)
			} else {
				require.NoFileExists(t, path)
			}
		})
	}
}
