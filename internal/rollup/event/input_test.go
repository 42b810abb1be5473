package event

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

func zstded(t *testing.T, text string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return string(w.EncodeAll([]byte(text), nil))
}

func TestReaderInput(t *testing.T) {
	t.Parallel()

	const row = "a,view,2026-03-01T00:00:00Z\n"
	csvText, want := header+row, []string{"2: a view 2026-03-01T00:00:00Z"}
	object := `{"entity_id":"a","event_type":"view","created_at":"2026-03-01T00:00:00Z"}` + "\n"
	wantObject := []string{"1: a view 2026-03-01T00:00:00Z"}
	long := header + strings.Repeat(row, 1000)

	for _, test := range []struct {
		name, file, text string
		format           Format
		want             []string
	}{
		{"Array", "events.json", "[" + object + "]", "", []string{
			"error: it is one JSON array: write an object per line, such as with jq -c '.[]' FILE | daymill import -",
		}},
		{"ByFirstByteCSV", "-", csvText, "", want},
		{"ByFirstByteNDJSON", "-", object, "", wantObject},
		{"ByFormat", "events.csv", object, NDJSON, wantObject},
		{"ByNameCSV", "EVENTS.CSV", csvText, "", want},
		{"ByNameNDJSON", "events.jsonl.gz", gzipped(t, "\n"+object), "", []string{"2: a view 2026-03-01T00:00:00Z"}},
		{"Bzip2", "events.csv.bz2", "BZh91AY&SY", "", []string{
			"error: the file cannot be read: it is compressed with bzip2: run bzip2 -dc FILE | daymill import -",
		}},
		{"EmptyGzip", "events.csv.gz", gzipped(t, ""), "", []string{"error: the file is empty: the first line should name the columns"}},
		{"Gzip", "events.csv.gz", gzipped(t, csvText), "", want},
		{"GzipCutOff", "events.csv.gz", gzipped(t, long)[:40], "", []string{"error: the compressed file is truncated"}},
		{"GzipMark", "events.csv.gz", gzipped(t, "\ufeff"+csvText), "", want},
		{"GzipMembers", "events.csv", gzipped(t, header) + gzipped(t, row), "", want},
		{"GzipNot", "events.csv", "\x1f\x8b" + csvText, "", []string{
			"error: the file begins like gzip but is not: gzip: invalid header",
		}},
		{"Mark", "-", "\ufeff" + object, "", wantObject},
		{"Tabs", "events.tsv", strings.ReplaceAll(csvText, ",", "\t"), "", want},
		{"TabsZstd", "events.tsv.zst", zstded(t, strings.ReplaceAll(csvText, ",", "\t")), "", want},
		{"UTF16", "events.csv", "\xff\xfee\x00n\x00", "", []string{
			"error: the file cannot be read: it is UTF-16: run iconv -f UTF-16 -t UTF-8 FILE | daymill import -",
		}},
		{"Zstd", "-", zstded(t, csvText), "", want},
		{"ZstdFrames", "events.csv", zstded(t, header) + zstded(t, row), "", want},
		{"ZstdNDJSON", "-", zstded(t, object), "", wantObject},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			options := textOptions(t)
			options.Format = test.format
			require.Equal(t, test.want, readAll(test.file, test.text, options))
		})
	}

	t.Run("Damaged", func(t *testing.T) {
		t.Parallel()
		for _, text := range []string{gzipped(t, long), zstded(t, long)} {
			damaged := []byte(text)
			damaged[len(damaged)-5] ^= 0xFF
			lines := readAll("-", string(damaged), textOptions(t))
			require.Contains(t, lines[len(lines)-1], "error: the compressed file is damaged: ")
		}
	})

	t.Run("DiskFails", func(t *testing.T) {
		t.Parallel()
		cause := errors.New("the disk is on fire")
		for _, text := range []string{csvText, gzipped(t, long)[:40], gzipped(t, long)[:5], object} {
			input := io.MultiReader(strings.NewReader(text), iotest.ErrReader(cause))
			reader, err := NewReader("-", input, textOptions(t))
			for err == nil {
				err = reader.Read(&Event{})
			}
			require.ErrorIs(t, err, cause)
			var blamed *InputError
			require.NotErrorAs(t, err, &blamed)
		}
	})

	t.Run("WindowTooLarge", func(t *testing.T) {
		t.Parallel()
		// A frame that wants a window of 256 MiB.
		lines := readAll("-", "\x28\xb5\x2f\xfd\x00\x90"+strings.Repeat("\x00", 20), textOptions(t))
		require.Equal(t, []string{"error: the compressed file is damaged: window size exceeded"}, lines)
	})
}

// endless repeats a text without end, and counts the bytes that are read.
type endless struct {
	text string
	read int64
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.text[e.read%int64(len(e.text)):])
	e.read += int64(n)
	return n, nil
}

func TestReaderEndlessRow(t *testing.T) {
	t.Parallel()

	for name, first := range map[string]string{
		"csv": header + `"`, "header": `"`, "json": `{"entity_id":"a","event_type":"view","created_at":1}` + "\n\"",
	} {
		input := &endless{text: "x\n"}
		if name == "json" {
			input.text = "x"
		}
		options := textOptions(t)
		reader, err := NewReader("-", io.MultiReader(strings.NewReader(first), io.LimitReader(input, 8*MaxRow)), options)
		for range 3 {
			if err != nil {
				break
			}
			err = reader.Read(&Event{})
			if _, is := errors.AsType[*RowError](err); is {
				err = nil
			}
		}
		if name == "json" { // The rest of the line is skipped, and with it the file.
			require.ErrorIs(t, err, io.EOF)
			continue
		}
		require.ErrorContains(t, err, "is longer than 1048576 bytes", name)
		require.Less(t, input.read, int64(2*MaxRow), name)
	}
}
