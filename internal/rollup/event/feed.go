package event

import (
	"context"
	"errors"
	"io"
)

// Limits of a chunk.
const (
	DefaultChunk = 50_000  // rows
	MaxChunk     = 500_000 // rows
	maxBytes     = 8 << 20 // of ids, because rows may be long
)

// mostShown is how many bad rows of a file are shown; the rest are counted.
const mostShown = 20

// chunk holds some rows of a file.
type chunk struct {
	Progress // at the chunk's end

	events []Event
	shown  []*RowError
	err    error // why reading stopped before the end of the file
}

// feed reads a file in the background, one chunk ahead of the one that is copied.
type feed struct {
	importer *Importer
	columns  columns
	chunks   chan *chunk // closed at the end of the file
	free     chan *chunk
}

// newFeed begins to read in a goroutine. The goroutine ends at the end of the file, after an error, or after ctx is done. In the
// last case it ends only when the current Read returns, which may be never for a terminal or a pipe.
func newFeed(ctx context.Context, i *Importer, columns columns, name string, input io.Reader) *feed {
	f := &feed{importer: i, columns: columns, chunks: make(chan *chunk), free: make(chan *chunk, 2)}
	f.free <- &chunk{}
	f.free <- &chunk{}
	go f.run(ctx, name, input)
	return f
}

func (f *feed) run(ctx context.Context, name string, input io.Reader) {
	defer close(f.chunks)
	var progress Progress
	reader, err := NewReader(name, input, f.importer.Options)
	if err == nil {
		defer reader.Close()
	}
	for {
		var c *chunk
		select {
		case c = <-f.free:
		case <-ctx.Done():
			return
		}
		*c = chunk{events: c.events[:0], shown: c.shown[:0], err: err}
		if c.err == nil {
			c.err = f.fill(reader, c, &progress)
			progress.Stored = reader.Stored()
		}
		c.Progress = progress
		isLast := c.err != nil
		if errors.Is(c.err, io.EOF) {
			c.err = nil
		}
		select {
		case f.chunks <- c:
		case <-ctx.Done():
			return
		}
		if isLast {
			return
		}
	}
}

// fill reads the rows of a chunk. It returns io.EOF at the end of the file.
func (f *feed) fill(reader *Reader, c *chunk, progress *Progress) error {
	bytes := 0
	for range f.importer.chunkRows() {
		if bytes > maxBytes {
			break
		}
		var e Event
		err := reader.Read(&e)
		if err == nil {
			if reason := f.columns.fit(&e); reason != nil {
				err = &RowError{Line: e.Line, Err: reason}
			}
		}
		var bad *RowError
		switch {
		case err == nil:
			bytes += len(e.Entity)
			c.events = append(c.events, e)
		case errors.As(err, &bad):
			progress.Bad++
			if progress.Bad <= mostShown {
				c.shown = append(c.shown, bad)
			}
		default:
			return err
		}
		progress.Rows++
		if progress.Bad > f.importer.MaxErrors && !f.importer.DryRun {
			return f.importer.tooManyBad(*progress)
		}
	}
	return nil
}
