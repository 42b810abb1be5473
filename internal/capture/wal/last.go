package wal

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
)

// ErrRestored says that the source does not have the last transaction that was read from it.
var ErrRestored = errors.New("what was read from the source last is not in its WAL: it was restored from a backup")

// Last is the last transaction whose changes have landed. A server sends everything again that was not confirmed to it. So if it did not confirm
// this transaction, the reader skips what is before it, and expects exactly this one. If another one comes, the source was restored from an
// older backup, however long its WAL is since. The confirmation itself is on the source's disk, so an older backup has an older one.
type Last struct {
	Commit      pglogrepl.LSN
	Ordinal     int   // up to which its changes have landed; 0 if all have
	XID         int64 // 0 if nothing has landed since the slot was created, and in texts of earlier versions
	CommittedAt time.Time
}

// Text returns the form that [ParseLast] parses, together with the position of the stream.
func (l Last) Text(position pglogrepl.LSN) string {
	var committed int64
	if !l.CommittedAt.IsZero() {
		committed = l.CommittedAt.UnixMicro()
	}
	return l.Commit.String() + " " + strconv.Itoa(l.Ordinal) + " " + strconv.FormatInt(l.XID, 10) + " " + strconv.FormatInt(committed, 10) + " " + position.String()
}

// ParseLast parses the result of Text. It reports false if a process of an earlier version has read the stream up to its position: it wrote the
// commit and ordinal of an unfinished transaction, or nothing.
func ParseLast(text string, position pglogrepl.LSN) (l Last, known bool) {
	parts := strings.Split(text, " ")
	if len(parts) < 2 {
		return Last{}, false
	}
	l.Commit, _ = pglogrepl.ParseLSN(parts[0]) // Text wrote it, as the rest.
	l.Ordinal, _ = strconv.Atoi(parts[1])
	if len(parts) < 5 || parts[4] != position.String() {
		return Last{Commit: l.Commit, Ordinal: l.Ordinal}, false
	}
	l.XID, _ = strconv.ParseInt(parts[2], 10, 64)
	if micros, _ := strconv.ParseInt(parts[3], 10, 64); micros != 0 {
		l.CommittedAt = time.UnixMicro(micros).UTC()
	}
	return l, true
}

// is reports whether the transaction is one that the server sends.
func (l Last) is(m *pglogrepl.BeginMessage) bool {
	return l.Commit == m.FinalLSN && l.XID == int64(m.Xid) && l.CommittedAt.Equal(m.CommitTime)
}
