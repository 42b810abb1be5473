package store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShare(t *testing.T) {
	t.Parallel()
	require.Equal(t, 59, share(54, 38)) // A disk of 252, of which 160 are reserved for root.
	require.Equal(t, 100, share(10, 0))
	require.Equal(t, 0, share(0, 10))
	require.Equal(t, 0, share(0, 0))
}
