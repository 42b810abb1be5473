package segment

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/daymill/daymill/internal/archive/store"
)

// Writer appends to the current segment.
//
// In a directory without encryption, the segment is a file from its first line on, and its content is durable after [Writer.Sync]. In
// buckets and with encryption, files cannot grow: the segment is in a temporary file until it is sealed, and is durable only then. Until
// then, the slot keeps its transactions.
type Writer struct {
	store  *store.Store
	codec  store.Codec
	file   *os.File
	text   io.WriteCloser // on the temporary file; nil in a directory
	buffer *bufio.Writer
	seal   Seal
	last   *Seal
	err    error // of writing to the buffer

	begun Last          // the transaction that is being written
	whole int64         // of the text, after the segment's last transaction
	after pglogrepl.LSN // position at whole

	Last    Last          // the last complete transaction since the last gap
	To      pglogrepl.LSN // position up to which everything is written
	Durable pglogrepl.LSN // position up to which everything is durable
}

// Last identifies a transaction by its commit record's position and its commit time. It is zero if there is none.
type Last struct {
	LSN pglogrepl.LSN
	At  time.Time
}

// Open returns the writer of an archive with these seals and this current segment, as [List] returns them. It continues after the last complete
// transaction; a new chain begins at from. Open does not change files: call [Writer.Cut] for that, once no other process writes.
func Open(s *store.Store, codec store.Codec, from pglogrepl.LSN, seals []Seal, open string) (w *Writer, cut int64, err error) {
	w = &Writer{store: s, codec: codec, To: from}
	if n := len(seals); n > 0 {
		w.last = &seals[n-1]
		to, err := pglogrepl.ParseLSN(w.last.To)
		if err != nil {
			return nil, 0, fmt.Errorf("the last seal cannot be read: %w", err)
		}
		if to < from {
			w.last = nil // There is a gap before from.
		} else if w.last.LastCommitLSN != "" { // Earlier versions did not record it.
			w.Last.At = w.last.LastCommit
			if w.Last.LSN, err = pglogrepl.ParseLSN(w.last.LastCommitLSN); err != nil {
				return nil, 0, fmt.Errorf("the last seal cannot be read: %w", err)
			}
		}
		w.To = max(to, from)
	}
	w.seal.From, w.after = LSN(w.To), w.To
	if open == w.seal.From && w.appends() {
		cut = w.resume(w.path())
	}
	w.Durable = w.To
	return w, cut, nil
}

// appends reports whether the current segment is a file in the archive's directory.
func (w *Writer) appends() bool { return w.store.Dir() != "" && !w.codec.Encrypted() }

func (w *Writer) path() string { return filepath.Join(w.store.Dir(), Name(w.seal.From)) }

// resume returns where to truncate the file: after its last complete transaction.
func (w *Writer) resume(path string) (cut int64) {
	file, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer file.Close()
	var place int64
	_ = Scan(file, func(line Line) error { // Unreadable lines come after the last complete transaction.
		place += int64(len(line.Text))
		switch line.Kind {
		case Begin:
			w.begun = Last{line.LSN, line.Time}
		case Commit:
			w.seal.Transactions++
			w.Last, w.To, cut = w.begun, line.LSN, place
			w.whole, w.after = cut, w.To
		case Place:
			w.To, cut = line.LSN, place
		case Other, End:
		}
		return nil
	})
	return cut
}

// Whole returns how many bytes of an open segment are complete transactions, and their last position and time.
func Whole(path string) (size int64, to pglogrepl.LSN, last time.Time) {
	w := &Writer{}
	size = w.resume(path)
	return size, w.To, w.Last.At
}

// Cut opens the file for writing and truncates it at a place.
func (w *Writer) Cut(place int64) (err error) {
	if w.appends() {
		err = w.append(place)
	} else if w.file, err = os.CreateTemp("", "daymill-segment-"); err == nil {
		_ = os.Remove(w.file.Name()) // The open file stays usable.
		w.text, err = w.codec.Writer(w.file)
	}
	if err != nil {
		return fmt.Errorf("open a segment: %w", err)
	}
	if w.buffer = bufio.NewWriterSize(w.file, 1<<20); w.text != nil {
		w.buffer = bufio.NewWriterSize(w.text, 1<<20)
	}
	if w.seal.Text = place; place == 0 {
		w.Write([]byte("-- Daymill archive, format 2: transactions from " + w.seal.From + "\n"))
	}
	return nil
}

func (w *Writer) append(place int64) (err error) {
	if err := os.MkdirAll(filepath.Dir(w.path()), 0o700); err != nil {
		return err
	}
	if w.file, err = os.OpenFile(w.path(), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	if err := w.file.Truncate(place); err != nil {
		return err
	}
	if _, err := w.file.Seek(place, io.SeekStart); err != nil {
		return err
	}
	return store.SyncDir(filepath.Dir(w.path()))
}

// Write appends text. Sync returns its error.
func (w *Writer) Write(text []byte) {
	n, err := w.buffer.Write(text)
	w.seal.Text += int64(n)
	w.err = errors.Join(w.err, err)
}

// Begin begins a transaction.
func (w *Writer) Begin(lsn pglogrepl.LSN, moment time.Time) {
	w.begun = Last{lsn, moment.UTC()}
	w.Write([]byte(begin + LSN(lsn) + " " + moment.UTC().Format(moments) + "\n"))
}

// Commit ends a transaction.
func (w *Writer) Commit(lsn pglogrepl.LSN) {
	w.Write([]byte(commit + LSN(lsn) + "\n"))
	w.seal.Transactions++
	w.Last, w.To = w.begun, lsn
	w.whole, w.after = w.seal.Text, lsn
}

// Back removes what was written after the segment's last transaction: positions that the server has lost since, because it crashed within a
// record. It reports false if the segment cannot be truncated to a position up to lsn.
func (w *Writer) Back(lsn pglogrepl.LSN) (bool, error) {
	if !w.appends() || w.after > lsn {
		return false, nil
	}
	if err := errors.Join(w.err, w.buffer.Flush()); err != nil {
		return false, fmt.Errorf("write a segment: %w", err)
	}
	if err := w.file.Close(); err != nil {
		return false, fmt.Errorf("close a segment: %w", err)
	}
	w.To, w.Durable = w.after, min(w.Durable, w.after)
	return true, w.Cut(w.whole)
}

// Idle records that there are no transactions up to a position.
func (w *Writer) Idle(lsn pglogrepl.LSN, moment time.Time) {
	w.Write([]byte(at + LSN(lsn) + " " + moment.UTC().Format(moments) + "\n"))
	w.To = lsn
}

// Sync makes the written text durable, if that is possible before the segment is sealed.
func (w *Writer) Sync() error {
	if !w.appends() {
		return nil
	}
	if err := errors.Join(w.err, w.buffer.Flush()); err != nil {
		return fmt.Errorf("write a segment: %w", err)
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("write a segment: %w", err)
	}
	w.Durable = w.To
	return nil
}

// Size returns the size of the segment's text so far, in bytes.
func (w *Writer) Size() int64 { return w.seal.Text }

// Transactions returns how many transactions the segment has.
func (w *Writer) Transactions() int { return w.seal.Transactions }

// Seal ends the segment and begins the next one. The caller must not be within a transaction.
func (w *Writer) Seal(ctx context.Context) (Seal, error) {
	seal, err := w.end(ctx)
	if err != nil {
		return seal, err
	}
	w.last, w.seal = &seal, Seal{From: LSN(w.To)}
	w.whole, w.after = 0, w.To
	return seal, w.Cut(0)
}

func (w *Writer) end(ctx context.Context) (seal Seal, err error) {
	w.Write([]byte(end + LSN(w.To) + "\n"))
	if err := errors.Join(w.err, w.buffer.Flush()); err != nil {
		return seal, fmt.Errorf("write a segment: %w", err)
	}
	if w.text != nil {
		if err := w.text.Close(); err != nil {
			return seal, fmt.Errorf("write a segment: %w", err)
		}
	}
	if err := w.Sync(); err != nil {
		return seal, err
	}
	name, path := Name(w.seal.From), ""
	if w.appends() {
		path = w.path()
	}
	if w.seal.File, err = w.put(ctx, name); err != nil {
		return seal, err
	}
	w.seal.To, w.seal.LastCommit = LSN(w.To), w.Last.At
	if w.Last.LSN != 0 {
		w.seal.LastCommitLSN = LSN(w.Last.LSN)
	}
	if w.last != nil {
		w.seal.Previous, w.seal.PreviousSHA256 = w.last.File.Name, w.last.File.SHA256
	}
	if err := w.store.PutJSON(ctx, name+".json", w.seal); err != nil {
		return seal, err
	}
	w.Durable = w.To
	if err := w.file.Close(); err != nil {
		return seal, fmt.Errorf("close a segment: %w", err)
	}
	w.file = nil
	if path != "" && w.seal.File.Name != name {
		if err := os.Remove(path); err != nil {
			return seal, fmt.Errorf("remove the uncompressed segment: %w", err)
		}
	}
	return w.seal, nil
}

// put stores the segment: it keeps the file, compresses it, or copies the temporary file.
func (w *Writer) put(ctx context.Context, name string) (store.File, error) {
	if _, err := w.file.Seek(0, io.SeekStart); err != nil {
		return store.File{}, fmt.Errorf("read a segment: %w", err)
	}
	content := func(to io.Writer) error {
		_, err := io.Copy(to, w.file)
		return err
	}
	switch {
	case w.text != nil:
		return w.store.Put(ctx, name+w.codec.Suffix(), content)
	case w.codec.Suffix() == "":
		return store.Sum(name, w.file)
	}
	return w.codec.PutText(ctx, w.store, name, content)
}

// Close closes the file. If the segment is durable only once it is sealed, Close seals it first, unless it has no transactions or an
// incomplete one (whole is false).
func (w *Writer) Close(ctx context.Context, whole bool) (err error) {
	switch {
	case w.file == nil:
		return nil
	case w.appends():
		err = w.Sync()
	case whole && w.seal.Transactions > 0:
		if _, err = w.end(ctx); w.file == nil {
			return err
		}
	}
	return errors.Join(err, w.file.Close())
}

// Finish seals the last segment of an archive before a gap, or deletes it if it has no transactions. It does nothing if all segments are sealed.
func Finish(ctx context.Context, s *store.Store, codec store.Codec) error {
	seals, open, err := List(ctx, s, map[string]Seal{})
	if err != nil || open == "" {
		return err
	}
	from, err := pglogrepl.ParseLSN(open)
	if err != nil {
		return fmt.Errorf("%s is not a valid name of a segment", Name(open))
	}
	w, cut, err := Open(s, codec, from, seals, open)
	if err != nil {
		return err
	}
	switch {
	case w.seal.From != open: // Its seal was lost: it has transactions.
		return nil
	case cut == 0:
		return s.Delete(ctx, Name(open))
	}
	if err := w.Cut(cut); err != nil {
		return err
	}
	_, err = w.end(ctx)
	return err
}
