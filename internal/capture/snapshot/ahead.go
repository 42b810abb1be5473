package snapshot

import (
	"context"
	"reflect"

	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/db"
)

// ahead is a chunk that is read while the one before it waits for its watermark and is appended. It is only read at pace 0: otherwise one statement
// follows the other, with a pause.
type ahead struct {
	snapshot int64
	chunks   int64 // before it
	table    table.Table
	done     chan struct{} // closed once what follows is set
	read     rows
	err      error
}

// look begins to read the chunk after one that was read, and is not appended yet.
func (r *runner) look(ctx context.Context, s db.SnapshotNextRow, t table.Table, before rows) {
	if before.last == nil || r.Pace != nil && r.Pace.Pace() > 0 {
		return
	}
	s.Cursor, s.Chunks = before.last, s.Chunks+1
	a := &ahead{snapshot: s.ID, chunks: s.Chunks, table: t, done: make(chan struct{})}
	r.ahead = a
	go func() {
		defer close(a.done)
		a.read, a.err = r.scan(ctx, s, t)
	}()
}

// next returns the next chunk. It uses what was read ahead, unless the snapshot, its table or
// its last chunk is another one, and reads again what failed.
func (r *runner) next(ctx context.Context, s db.SnapshotNextRow, t table.Table) (rows, error) {
	a := r.drop()
	if a != nil && a.err == nil && a.snapshot == s.ID && a.chunks == s.Chunks && reflect.DeepEqual(a.table, t) {
		return a.read, nil
	}
	return r.scan(ctx, s, t)
}

// drop waits until nothing is read ahead any more, and returns what was; nil if nothing was. Until then, the session is in use.
func (r *runner) drop() *ahead {
	a := r.ahead
	if a != nil {
		<-a.done
		r.ahead = nil
	}
	return a
}
