// Package segment reads and writes the files of an archive: SQL that psql runs, transaction after transaction in the order of commits.
//
//	BEGIN; -- 00000000/0194F2A8 2026-11-28T06:20:00.000000Z
//	INSERT INTO …
//	COMMIT; -- 00000000/0194F310
//
// The BEGIN has the LSN of the commit record and its time, the COMMIT the LSN after it. The last line of a sealed segment says where
// it ends, so that a torn one is seen; a file beside it has its checksum, and that of the segment before.
package segment

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
)

// Dir is the directory of segments within an archive.
const Dir = "segments"

const (
	begin  = "BEGIN; -- "
	commit = "COMMIT; -- "
	at     = "-- at "
	end    = "-- end of segment "
)

// moments are written with as many digits as Postgres has, so that texts sort as times do.
const moments = "2006-01-02T15:04:05.000000Z"

// LSN formats a position so that texts sort in the order of positions.
func LSN(lsn pglogrepl.LSN) string { return fmt.Sprintf("%08X/%08X", uint32(lsn>>32), uint32(lsn)) } //nolint:gosec // Its halves.

// Seal is the content of the file beside a sealed segment.
type Seal struct {
	Name           string    `json:"name"`
	From           string    `json:"from"`
	To             string    `json:"to"`
	Transactions   int       `json:"transactions"`
	LastCommit     time.Time `json:"last_commit"`
	Bytes          int64     `json:"bytes"`
	SHA256         string    `json:"sha256"`
	Previous       string    `json:"previous"`
	PreviousSHA256 string    `json:"previous_sha256"`
}

// Kind says what a line is.
type Kind int

// Kinds of lines.
const (
	Other Kind = iota
	Begin
	Commit
	Place
	End
)

// Line is one line of a segment.
type Line struct {
	Kind Kind
	LSN  pglogrepl.LSN
	Time time.Time
	Text []byte
}

// Scan calls do with every line that is whole. Rows and the text of statements may look like any other line, so it follows where
// they begin and end.
func Scan(from io.Reader, do func(line Line) error) error {
	reader := bufio.NewReaderSize(from, 1<<20)
	until := "" // the line that ends rows or a statement
	for {
		text, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a segment: %w", err)
		}
		line := Line{Text: text}
		plain := strings.TrimSuffix(string(text[:min(len(text), 120)]), "\n")
		switch {
		case until != "":
			if plain == until {
				until = ""
			}
		case strings.HasPrefix(plain, "COPY "):
			until = `\.`
		case strings.HasPrefix(plain, "SELECT $ddl") && strings.HasSuffix(plain, "$"):
			until = strings.TrimPrefix(plain, "SELECT ") + ` \gexec`
		default:
			if err := line.read(plain); err != nil {
				return err
			}
		}
		if err := do(line); err != nil {
			return err
		}
	}
}

func (l *Line) read(text string) (err error) {
	for kind, prefix := range map[Kind]string{Begin: begin, Commit: commit, Place: at, End: end} {
		rest, is := strings.CutPrefix(text, prefix)
		if !is {
			continue
		}
		lsn, moment, _ := strings.Cut(rest, " ")
		if l.LSN, err = pglogrepl.ParseLSN(lsn); err == nil && moment != "" {
			l.Time, err = time.Parse(time.RFC3339Nano, moment)
		}
		if err != nil {
			return fmt.Errorf("a line of a segment cannot be read: %q", text)
		}
		l.Kind = kind
	}
	return nil
}

// File is one segment of an archive.
type File struct {
	Path string
	Seal *Seal // nil if it is not sealed yet
}

// List returns the segments of an archive in their order.
func List(archive string) (files []File, err error) {
	paths, err := filepath.Glob(filepath.Join(archive, Dir, "*.sql"))
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	slices.Sort(paths)
	for _, path := range paths {
		f := File{Path: path}
		content, err := os.ReadFile(path + ".json")
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("read the seal of a segment: %w", err)
		default:
			f.Seal = &Seal{}
			if err := json.Unmarshal(content, f.Seal); err != nil {
				return nil, fmt.Errorf("the seal %s.json cannot be read: %w", path, err)
			}
		}
		files = append(files, f)
	}
	return files, nil
}

// Check compares the sealed segments with their seals, and each segment with the one before. The first begins at base.
func Check(files []File, base string) error {
	to, hash := base, ""
	for i, f := range files {
		name := filepath.Base(f.Path)
		if strings.TrimSuffix(name, ".sql") != strings.Replace(to, "/", "-", 1) || f.Seal != nil && f.Seal.PreviousSHA256 != hash {
			return fmt.Errorf("a segment is missing: after %s comes %s", to, name)
		}
		if f.Seal != nil {
			to, hash = f.Seal.To, f.Seal.SHA256
		}
		if f.Seal == nil {
			if i < len(files)-1 {
				return fmt.Errorf("segment %s is not sealed, and others follow: its seal was lost", name)
			}
			continue
		}
		sum, size, err := sum(f.Path)
		switch {
		case err != nil:
			return err
		case size != f.Seal.Bytes:
			return fmt.Errorf("segment %s is torn: it has %d bytes, and %d when it was sealed", name, size, f.Seal.Bytes)
		case sum != f.Seal.SHA256:
			return fmt.Errorf("segment %s was altered after it was sealed: its checksum is another one", name)
		}
	}
	return nil
}

func sum(path string) (text string, size int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", 0, fmt.Errorf("open a segment: %w", err)
	}
	defer file.Close()
	hash := sha256.New()
	if size, err = io.Copy(hash, file); err != nil {
		return "", 0, fmt.Errorf("read a segment: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil)), size, nil
}

// Writer appends to the last segment.
type Writer struct {
	archive string
	file    *os.File
	buffer  *bufio.Writer
	seal    Seal
	last    *Seal
	To      pglogrepl.LSN // up to where everything is in the file
}

// Open returns the writer of an archive, which continues after the last whole transaction; a new archive begins at from. It changes
// nothing: [Writer.Cut] does, when nobody else writes.
func Open(archive string, from pglogrepl.LSN) (w *Writer, cut int64, err error) {
	files, err := List(archive)
	if err != nil {
		return nil, 0, err
	}
	w = &Writer{archive: archive, To: from}
	if n := len(files); n > 0 && files[n-1].Seal == nil {
		if n > 1 {
			w.last = files[n-2].Seal
		}
		name := strings.TrimSuffix(filepath.Base(files[n-1].Path), ".sql")
		if w.To, err = pglogrepl.ParseLSN(strings.Replace(name, "-", "/", 1)); err != nil {
			return nil, 0, fmt.Errorf("the segment %s has no name of a segment", files[n-1].Path)
		}
		w.seal = Seal{Name: name + ".sql", From: LSN(w.To)}
		return w, w.resume(files[n-1].Path), nil
	} else if n > 0 {
		w.last = files[n-1].Seal
		if w.To, err = pglogrepl.ParseLSN(w.last.To); err != nil {
			return nil, 0, fmt.Errorf("the last seal cannot be read: %w", err)
		}
	}
	w.seal = Seal{Name: strings.Replace(LSN(w.To), "/", "-", 1) + ".sql", From: LSN(w.To)}
	return w, 0, nil
}

// resume returns where the file is to be cut: after its last whole transaction.
func (w *Writer) resume(path string) (cut int64) {
	file, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer file.Close()
	var place int64
	_ = Scan(file, func(line Line) error { // What cannot be read comes after the last whole transaction.
		place += int64(len(line.Text))
		switch line.Kind {
		case Begin:
			w.seal.LastCommit = line.Time
		case Commit:
			w.seal.Transactions++
			w.To, cut = line.LSN, place
		case Place:
			w.To, cut = line.LSN, place
		case Other, End:
		}
		return nil
	})
	return cut
}

// Whole returns the size of a segment up to the end of its last whole transaction.
func Whole(path string) int64 { return (&Writer{}).resume(path) }

// Cut opens the file for writing and removes what comes after a place.
func (w *Writer) Cut(place int64) error {
	path := filepath.Join(w.archive, Dir, w.seal.Name)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open a segment: %w", err)
	}
	w.file, w.buffer = file, bufio.NewWriterSize(file, 1<<20)
	if err := file.Truncate(place); err != nil {
		return fmt.Errorf("cut a segment: %w", err)
	}
	if _, err := file.Seek(place, io.SeekStart); err != nil {
		return fmt.Errorf("cut a segment: %w", err)
	}
	w.seal.Bytes = place
	if place == 0 {
		w.Write([]byte("-- Daymill archive, format 1: transactions from " + w.seal.From + "\n"))
	}
	return syncDir(filepath.Dir(path))
}

// Write appends; an error shows when it is synced.
func (w *Writer) Write(text []byte) {
	n, _ := w.buffer.Write(text)
	w.seal.Bytes += int64(n)
}

// Begin begins a transaction.
func (w *Writer) Begin(lsn pglogrepl.LSN, moment time.Time) {
	w.seal.LastCommit = moment.UTC()
	w.Write([]byte(begin + LSN(lsn) + " " + moment.UTC().Format(moments) + "\n"))
}

// Commit ends a transaction.
func (w *Writer) Commit(lsn pglogrepl.LSN) {
	w.Write([]byte(commit + LSN(lsn) + "\n"))
	w.To = lsn
	w.seal.Transactions++
}

// Idle says up to where there is nothing more.
func (w *Writer) Idle(lsn pglogrepl.LSN, moment time.Time) {
	w.Write([]byte(at + LSN(lsn) + " " + moment.UTC().Format(moments) + "\n"))
	w.To = lsn
}

// Sync makes everything that was written durable.
func (w *Writer) Sync() error {
	if err := w.buffer.Flush(); err != nil {
		return fmt.Errorf("write a segment: %w", err)
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("write a segment: %w", err)
	}
	return nil
}

// Size returns the size of the segment so far.
func (w *Writer) Size() int64 { return w.seal.Bytes }

// Seal ends the segment and begins the next one.
func (w *Writer) Seal() error {
	w.Write([]byte(end + LSN(w.To) + "\n"))
	if err := w.Sync(); err != nil {
		return err
	}
	path := filepath.Join(w.archive, Dir, w.seal.Name)
	if err := w.file.Close(); err != nil {
		return fmt.Errorf("close a segment: %w", err)
	}
	var err error
	w.seal.To = LSN(w.To)
	if w.seal.SHA256, w.seal.Bytes, err = sum(path); err != nil {
		return err
	}
	if w.last != nil {
		w.seal.Previous, w.seal.PreviousSHA256 = w.last.Name, w.last.SHA256
	}
	if err := WriteJSON(path+".json", w.seal); err != nil {
		return err
	}
	sealed := w.seal
	w.last = &sealed
	w.seal = Seal{Name: strings.Replace(LSN(w.To), "/", "-", 1) + ".sql", From: LSN(w.To)}
	return w.Cut(0)
}

// Close makes what was written durable and closes the file.
func (w *Writer) Close() error { return errors.Join(w.Sync(), w.file.Close()) }

// WriteJSON writes a file completely or not at all.
func WriteJSON(path string, value any) error {
	var content bytes.Buffer
	encoder := json.NewEncoder(&content)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	file, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = file.Write(content.Bytes())
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open a directory: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync a directory: %w", err)
	}
	return nil
}
