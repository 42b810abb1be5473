package text_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/text"
)

func TestClip(t *testing.T) {
	t.Parallel()
	require.Equal(t, "abc", text.Clip("abc", 3))
	require.Equal(t, "ab…", text.Clip("abc", 2))
	require.Equal(t, "…", text.Clip("é", 1))
	require.Equal(t, "\xff\x80…", text.Clip("\xff\x80x", 2))
	for most := range 12 {
		cut := text.Clip(strings.Repeat("aé€𝟙", 3), most)
		require.True(t, utf8.ValidString(cut), "%q", cut)
		require.LessOrEqual(t, len(cut), most+len("…"))
	}
}

func TestPlural(t *testing.T) {
	t.Parallel()
	for want, given := range map[string]struct {
		n    int64
		noun string
	}{
		"1 entry": {1, "entry"}, "2 entries": {2, "entry"}, "0 entities": {0, "entity"}, "2 days": {2, "day"}, "2 batches": {2, "batch"}, "1,000 bases": {1000, "base"},
	} {
		require.Equal(t, want, text.Plural(given.n, given.noun))
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"a\nb\tc":                 "a\nb\tc",
		"\x1b[31mred":             "\uFFFD[31mred",
		"\u009b31mred\x7f":        "\uFFFD31mred\uFFFD",
		"a\u202eb\u2066c\u2028\r": "a\uFFFDb\uFFFDc\uFFFD\uFFFD",
		"\x9b31m":                 "\uFFFD31m",
		"naïve 𝟙":                 "naïve 𝟙",
	} {
		require.Equal(t, want, text.Printable(given), "%q", given)
	}
	escaped := text.JSON("{\"a\": \"\u009b31m\u202e<b>\"}\n")
	require.Equal(t, escaped, text.Printable(escaped))
	require.JSONEq(t, "{\"a\": \"\u009b31m\u202e<b>\"}\n", escaped)
	require.Equal(t, "a b c\uFFFD[2J", text.Line("a\nb\tc\x1b[2J"))
}
