package merge_test

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/merge"
)

type count struct {
	id        entity.ID
	eventType string
	events    int64
}

// However events are sliced and however small the bound is, the passes together equal a plain count.
func TestTableEqualsCount(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		counts := rapid.SliceOf(rapid.Custom(func(t *rapid.T) count {
			return count{
				id:        entity.ID(rapid.StringMatching(`[a-d]{0,3}`).Draw(t, "id")),
				eventType: rapid.SampledFrom([]string{"view", "click", "save", "skip", "share", ""}).Draw(t, "type"),
				events:    rapid.Int64Range(1, 5).Draw(t, "events"),
			}
		})).Draw(t, "counts")
		bound := rapid.IntRange(1, 40).Draw(t, "bound")

		want := map[string]int64{}
		for _, c := range counts {
			want[fmt.Sprintf("%q %q", c.id, c.eventType)] += c.events
		}
		got := map[string]int64{}
		var after *entity.ID
		var published []merge.Row
		for passes := 0; ; passes++ {
			require.LessOrEqual(t, passes, len(counts)+1, "every pass should publish something")
			table := merge.New(bound)
			for _, c := range counts {
				if after == nil || c.id > *after {
					require.NoError(t, table.Add([]byte(c.id), c.eventType, c.events))
				}
			}
			upTo := table.UpTo()
			rows := table.Rows().List()
			require.True(t, upTo == nil || len(rows) > 0)
			published = append(published, rows...)
			if upTo == nil {
				break
			}
			after = upTo
		}
		require.True(t, slices.IsSortedFunc(published, func(a, b merge.Row) int {
			return strings.Compare(string(a.ID), string(b.ID))
		}))
		for _, row := range published {
			for eventType, n := range map[string]int32{"view": row.Views, "click": row.Clicks, "save": row.Saves, "skip": row.Skips} {
				if n > 0 {
					got[fmt.Sprintf("%q %q", row.ID, eventType)] += int64(n)
				}
			}
			for _, other := range row.Other {
				got[fmt.Sprintf("%q %q", row.ID, other.Type)] += int64(other.Events)
			}
		}
		require.Equal(t, want, got)
	})
}

func TestTableBound(t *testing.T) {
	t.Parallel()
	table := merge.New(100)
	for i := range 10_000 {
		require.NoError(t, table.Add([]byte(fmt.Sprintf("%05d", (i*7919)%10_000)), "view", 1))
		require.LessOrEqual(t, table.Len(), 100)
	}
	require.NotNil(t, table.UpTo())
}

// Long ids and many event types leave room for fewer entities.
func TestTableBoundBytes(t *testing.T) {
	t.Parallel()
	ids, types := merge.New(100), merge.New(100)
	for i := range 1_000 {
		require.NoError(t, ids.Add([]byte(fmt.Sprintf("%0700d", 999-i)), "view", 1))
		require.LessOrEqual(t, ids.Len(), 10)
		require.NoError(t, types.Add([]byte(strconv.Itoa(i)), fmt.Sprintf("%0100d", i), 1))
		require.LessOrEqual(t, types.Len(), 40)
	}
	require.NotNil(t, ids.UpTo())
	require.NotNil(t, types.UpTo())
}

func TestTableOverflow(t *testing.T) {
	t.Parallel()
	for _, eventType := range []string{"view", "share"} {
		table := merge.New(10)
		require.NoError(t, table.Add([]byte("a"), eventType, math.MaxInt32))
		require.ErrorContains(t, table.Add([]byte("a"), eventType, 1), "more than a count can hold")
		require.EqualValues(t, math.MaxInt32, table.Rows().Events())
	}
}

// An entity with very many event types takes as long as that many entities: the time is proportional to their number, not to its square, which
// would be an hour.
func TestTableManyTypes(t *testing.T) {
	t.Parallel()
	const types = 600_000
	table := merge.New(0)
	for range 2 {
		for i := range types {
			require.NoError(t, table.Add([]byte("one"), strconv.Itoa(i), 1))
			if i%100_000 == 0 {
				require.NoError(t, table.Add(nil, strconv.Itoa(i), 1))
			}
		}
	}
	rows := table.Rows().List()
	require.Len(t, rows, 2)
	require.Len(t, rows[1].Other, types)
	require.EqualValues(t, 2*types, rows[1].Events())
	require.EqualValues(t, 12, rows[0].Events())
}
