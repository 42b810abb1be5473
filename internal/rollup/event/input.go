package event

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Format is how the rows of a file are written.
type Format string

// The formats. Auto goes by the file's name, and where that says nothing by its first byte.
const (
	Auto   Format = "auto"
	CSV    Format = "csv"
	NDJSON Format = "ndjson"
)

// file counts the bytes of a file as it is stored, for the progress, and remembers its own errors.
type file struct {
	reader io.Reader
	bytes  int64
	err    error
}

func (f *file) Read(p []byte) (int, error) {
	n, err := f.reader.Read(p)
	f.bytes += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

// unzipped tells damage from a disk or network that fails.
type unzipped struct {
	reader io.Reader
	file   *file
}

func (u unzipped) Read(p []byte) (int, error) {
	n, err := u.reader.Read(p)
	switch {
	case err == nil, errors.Is(err, io.EOF), u.file.err != nil:
		return n, err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, inputf("the compressed file is cut off")
	default:
		return n, inputf("the compressed file is damaged: %w", err)
	}
}

func readError(err error) error {
	if _, is := errors.AsType[*InputError](err); is {
		return err
	}
	return fmt.Errorf("read: %w", err)
}

// bufferSize is how much is read from a file at a time.
const bufferSize = 64 << 10

// decompress recognizes gzip and zstd by their first bytes, and skips a byte order mark. Memory stays bounded whatever
// a file claims to need: a zstd window may be 128 MiB at most, as with the zstd program.
func decompress(stored *file) (text *bufio.Reader, release func(), err error) {
	text, release = bufio.NewReaderSize(stored, bufferSize), func() {}
	magic, err := text.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, readError(err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		reader, err := gzip.NewReader(text)
		switch {
		case stored.err != nil:
			return nil, nil, readError(stored.err)
		case err != nil:
			return nil, nil, inputf("the file begins like gzip but is not: %w", err)
		}
		text = bufio.NewReaderSize(unzipped{reader, stored}, bufferSize)
	case bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")):
		const maxWindow = 128 << 20
		reader, err := zstd.NewReader(text, zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, inputf("the file begins like zstd but is not: %w", err)
		}
		text, release = bufio.NewReaderSize(unzipped{reader, stored}, bufferSize), reader.Close
	}
	if err := begin(text); err != nil {
		release()
		return nil, nil, err
	}
	return text, release, nil
}

// begin looks at the first bytes of the text.
func begin(text *bufio.Reader) error {
	first, err := text.Peek(8)
	if err != nil && !errors.Is(err, io.EOF) {
		return readError(err)
	}
	for _, unfit := range []struct{ magic, hint string }{
		{"BZh", "it is compressed with bzip2: run bzip2 -dc FILE | daymill import -"},
		{"\xfd7zXZ\x00", "it is compressed with xz: run xz -dc FILE | daymill import -"},
		{"PK\x03\x04", "it is a zip archive: run unzip -p FILE | daymill import -"},
		{"PAR1", "it is Parquet: have it written as CSV"},
		{"\xff\xfe", "it is UTF-16: run iconv -f UTF-16 -t UTF-8 FILE | daymill import -"},
		{"\xfe\xff", "it is UTF-16: run iconv -f UTF-16 -t UTF-8 FILE | daymill import -"},
		{"PGCOPY\n", "it is Postgres's binary format: have it written WITH (FORMAT csv, HEADER)"},
	} {
		if bytes.HasPrefix(first, []byte(unfit.magic)) {
			return inputf("the file cannot be read: %s", unfit.hint)
		}
	}
	const mark = "\ufeff"
	if bytes.HasPrefix(first, []byte(mark)) {
		_, err = text.Discard(len(mark))
		return err
	}
	return nil
}

// formatOf decides how the rows of a file are written, and what is between the fields of a CSV row.
func formatOf(name string, text *bufio.Reader, options Options) (Format, rune, error) {
	base := strings.ToLower(name)
	for _, extension := range []string{".gz", ".zst", ".zstd"} {
		base = strings.TrimSuffix(base, extension)
	}
	delimiter := options.Delimiter
	if delimiter == 0 {
		delimiter = ','
		if strings.HasSuffix(base, ".tsv") {
			delimiter = '\t'
		}
	}
	if options.Format == CSV || options.Format == NDJSON {
		return options.Format, delimiter, nil
	}
	if strings.HasSuffix(base, ".csv") || strings.HasSuffix(base, ".tsv") {
		return CSV, delimiter, nil
	}
	first, err := text.Peek(1)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return "", 0, readError(err)
	case string(first) == "{":
		return NDJSON, delimiter, nil
	case string(first) == "[":
		return "", 0, inputf("it is one JSON array: write an object per line, such as with jq -c '.[]' FILE | daymill import -")
	}
	for _, extension := range []string{".json", ".jsonl", ".ndjson"} {
		if strings.HasSuffix(base, extension) {
			return NDJSON, delimiter, nil
		}
	}
	return CSV, delimiter, nil
}
