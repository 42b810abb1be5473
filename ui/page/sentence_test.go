package page_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/ui/page"
)

func TestSentence(t *testing.T) {
	t.Parallel()
	require.Equal(t, "Été.", page.Sentence("été"))
	require.Empty(t, page.Sentence(""))
}
