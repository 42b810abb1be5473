package worker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/presence"
)

// TestTurn: of the processes that are alive, each has its turn as often as the others, and one at a time.
func TestTurn(t *testing.T) {
	t.Parallel()
	alive := []presence.Worker{{Name: "c"}, {Name: "a"}, {Name: "b"}}
	turns := map[string]int{}
	for look := range 6 {
		at := 0
		for _, one := range alive {
			if turn(one.Name, alive, look) {
				turns[one.Name]++
				at++
			}
		}
		require.Equal(t, 1, at)
	}
	require.Equal(t, map[string]int{"a": 2, "b": 2, "c": 2}, turns)
	for look := range 3 {
		require.True(t, turn("a", alive[1:2], look), "one that is alone always has its turn")
		require.True(t, turn("a", nil, look))
	}
}
