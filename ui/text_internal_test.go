package ui

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/job"
)

func TestNoJobs(t *testing.T) {
	t.Parallel()
	require.Equal(t, "There are no jobs.", noJobs(job.Filter{}))
	require.Equal(t, "There are no discarded jobs.", noJobs(job.Filter{State: "discarded"}))
}

func TestSentence(t *testing.T) {
	t.Parallel()
	require.Equal(t, "Été.", sentence("été"))
	require.Empty(t, sentence(""))
}

func TestUnarmed(t *testing.T) {
	t.Parallel()
	for _, armed := range []string{"=1", "+1", "-1", "@a", "\t=1", "\r", "\n", "＝1", "＋1", "－1", "＠a", " =1", "\u00a0=1", "\u3000＝1"} {
		require.Equal(t, "'"+armed, unarmed(armed), "%q", armed)
	}
	for _, harmless := range []string{"", "a=1", "1-2", "é", " a"} {
		require.Equal(t, harmless, unarmed(harmless), "%q", harmless)
	}
}
