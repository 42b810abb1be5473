package merge_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/rollup/merge"
)

func TestAffordable(t *testing.T) {
	t.Parallel()
	const mebibyte = 1 << 20
	require.Equal(t, merge.DefaultMaxEntities, merge.Affordable(0, 3), "the amount of memory is unknown")
	require.Equal(t, merge.DefaultMaxEntities, merge.Affordable(64<<30, 3))
	require.Equal(t, merge.MinMaxEntities, merge.Affordable(mebibyte, 3))
	small, larger := merge.Affordable(128*mebibyte, 3), merge.Affordable(256*mebibyte, 3)
	require.InDelta(t, 2*small, larger, 2)
	require.Greater(t, small, merge.MinMaxEntities)
	require.Less(t, small, 150_000)
}
