package event

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func BenchmarkReader(b *testing.B) {
	for name, text := range map[string]string{
		"csv": header + "a,view,2026-03-01T00:00:00Z\n",
		"ndjson": `{"id":7919,"user":{"name":"u9","plan":"pro"},"entity_id":"a","event_type":"view",` +
			`"created_at":"2026-03-01T00:00:00Z","referrer":"https://example.com/a/b?c=1"}` + "\n",
	} {
		b.Run(name, func(b *testing.B) {
			first, row, _ := strings.Cut(text, "\n")
			if row == "" {
				row, first = text, ""
			} else {
				first += "\n"
			}
			reader, err := NewReader("", io.MultiReader(strings.NewReader(first), &endless{text: row}), textOptions(b))
			require.NoError(b, err)
			b.SetBytes(int64(len(row)))
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, reader.Read(&Event{}))
			}
		})
	}
}
