package entity

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnarmed(t *testing.T) {
	t.Parallel()
	for _, armed := range []string{"=1", "+1", "-1", "@a", "\t=1", "\r", "\n", "＝1", "＋1", "－1", "＠a", " =1", "\u00a0=1", "\u3000＝1"} {
		require.Equal(t, "'"+armed, unarmed(armed), "%q", armed)
	}
	for _, harmless := range []string{"", "a=1", "1-2", "é", " a"} {
		require.Equal(t, harmless, unarmed(harmless), "%q", harmless)
	}
}
