package event

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// TestBomb reads files of a few kilobytes that decompress to 64 megabytes. It must not use more memory than a row and the windows.
func TestBomb(t *testing.T) { //nolint:paralleltest // Other tests take memory, too.
	const size = 64 << 20
	bomb := func(begin string) map[string]string {
		text := func() io.Reader {
			return io.MultiReader(strings.NewReader(begin), io.LimitReader(&endless{text: "x"}, size))
		}
		var gz, zst strings.Builder
		g, err := gzip.NewWriterLevel(&gz, gzip.BestSpeed)
		require.NoError(t, err)
		_, err = io.Copy(g, text())
		require.NoError(t, err)
		require.NoError(t, g.Close())
		z, err := zstd.NewWriter(&zst, zstd.WithEncoderLevel(zstd.SpeedFastest))
		require.NoError(t, err)
		_, err = io.Copy(z, text())
		require.NoError(t, err)
		require.NoError(t, z.Close())
		require.Less(t, gz.Len()+zst.Len(), size/50)
		return map[string]string{"gzip": gz.String(), "zstd": zst.String()}
	}
	for format, begin := range map[Format]string{ //nolint:paralleltest // See above.
		CSV: header + "a,view,", NDJSON: `{"entity_id":"a","event_type":"view","created_at":"2026-03-01T00:00:00Z"}` + "\n\"",
	} {
		for packed, text := range bomb(begin) {
			t.Run(fmt.Sprintf("%s%s", format, packed), func(t *testing.T) {
				runtime.GC()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				options := textOptions(t)
				options.Format = format
				lines := readAll("-", text, options)
				runtime.ReadMemStats(&after)
				require.LessOrEqual(t, len(lines), 3)
				require.Contains(t, strings.Join(lines, "\n"), "is longer than 1048576 bytes")
				require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(32<<20), "all that was allocated, given back or not")
			})
		}
	}
}

// TestPackedOddly reads files with many small pieces, compressed files within compressed files, and truncated files.
func TestPackedOddly(t *testing.T) {
	t.Parallel()
	const row = "a,view,2026-03-01T00:00:00Z\n"
	file := header + row + row
	want := []string{"2: a view 2026-03-01T00:00:00Z", "3: a view 2026-03-01T00:00:00Z"}
	const many = 20_000
	for name, text := range map[string]string{
		"GzipMembers":     strings.Repeat(gzipped(t, ""), many) + gzipped(t, file),
		"GzipMembersLast": gzipped(t, file) + strings.Repeat(gzipped(t, ""), many),
		"ZstdFrames":      strings.Repeat(zstded(t, ""), many) + zstded(t, file),
		"ZstdFramesLast":  zstded(t, file) + strings.Repeat(zstded(t, ""), many),
		"ZstdSkippable":   zstded(t, header) + strings.Repeat("\x50\x2a\x4d\x18\x02\x00\x00\x00xx", many) + zstded(t, row+row),
	} {
		require.Equal(t, want, readAll("-", text, textOptions(t)), name)
	}
	// Its content is not a table, however often it is compressed.
	for name, text := range map[string]string{
		"GzipInGzip": gzipped(t, gzipped(t, file)), "GzipInZstd": zstded(t, gzipped(t, file)), "ZstdInGzip": gzipped(t, zstded(t, file)),
		"GzipThenText": gzipped(t, file) + row, "ZstdThenText": zstded(t, file) + row, "GzipThenZeros": gzipped(t, file) + strings.Repeat("\x00", 512),
	} {
		lines := readAll("-", text, textOptions(t))
		require.Contains(t, lines[len(lines)-1], "error: ", name)
	}
	// A truncated file is never mistaken for a complete one.
	for name, text := range map[string]string{"gzip": gzipped(t, file), "zstd": zstded(t, file), "twice": gzipped(t, header) + gzipped(t, row)} {
		for n := range len(text) {
			if name == "twice" && n == len(gzipped(t, header)) {
				continue // The truncation cannot be detected.
			}
			lines := readAll("-", text[:n], textOptions(t))
			require.NotEmpty(t, lines, "%s, %d bytes", name, n)
			require.Contains(t, lines[len(lines)-1], "error: ", "%s, %d bytes", name, n)
		}
	}
}
