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

// The formats. Auto decides by the file's name, or else by its first byte.
const (
	Auto   Format = "auto"
	CSV    Format = "csv"
	NDJSON Format = "ndjson"
)

// file counts the bytes read of a file, for the progress, and remembers errors of reading it.
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

// unzipped is a decompressed file. It distinguishes a damaged file from a disk or network that fails.
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
		return n, inputf("the compressed file is truncated")
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

// bufferSize is how many bytes are read from a file at a time.
const bufferSize = 64 << 10

// decompress recognizes gzip and zstd by their first bytes, and skips a byte order mark. It bounds memory even if the file asks
// for more: a zstd window may have at most 128 MiB, as with the zstd program.
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

// begin refuses a text whose first bytes are those of a format that cannot be read, and says how to convert it.
func begin(text *bufio.Reader) error {
	first, err := text.Peek(8)
	if err != nil && !errors.Is(err, io.EOF) {
		return readError(err)
	}
	for _, unfit := range []struct{ magic, hint string }{
		{"BZh", "it is compressed with bzip2: run bzip2 -dc FILE | daymill import -"},
		{"\xfd7zXZ\x00", "it is compressed with xz: run xz -dc FILE | daymill import -"},
		{"PK\x03\x04", "it is a zip archive: run unzip -p FILE | daymill import -"},
		{"PAR1", "it is Parquet: convert it to CSV"},
		{"\xff\xfe", "it is UTF-16: run iconv -f UTF-16 -t UTF-8 FILE | daymill import -"},
		{"\xfe\xff", "it is UTF-16: run iconv -f UTF-16 -t UTF-8 FILE | daymill import -"},
		{"PGCOPY\n", "it is Postgres's binary format: export it WITH (FORMAT csv, HEADER)"},
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

// formatOf returns the format of a file, and the delimiter between the fields of a CSV row.
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
