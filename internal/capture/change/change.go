// Package change defines one change of a row: what capture reads from a database, keeps in the log and hands to consumers. Its
// JSON is the document that every consumer receives, whichever mode it was read in.
package change

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"strconv"
	"time"
)

// Op is the kind of a change.
type Op string

// Kinds of changes. A row that a snapshot reads is an insert with Snapshot set.
const (
	Insert   Op = "insert"
	Update   Op = "update"
	Delete   Op = "delete"
	Truncate Op = "truncate"
	// Sweep ends the snapshot of a table: rows whose last change is at or before the position in Old no longer exist. Sinks that
	// cannot use a sweep do not receive it.
	Sweep Op = "sweep"
)

// Change is one row inserted, updated or deleted, or a table truncated.
type Change struct {
	// Position grows in the order of commits and is unique within a stream. It is 0 until the change is in the log.
	Position int64  `json:"position"`
	Stream   string `json:"stream"` // name of the database
	Op       Op     `json:"op"`
	Schema   string `json:"schema"`
	Table    string `json:"table"`
	// Key is an object with the columns of the replica identity or the primary key, in their order; null for a truncate.
	Key json.RawMessage `json:"key"`
	// Old and New are objects with the row's columns as to_jsonb writes them, or null.
	Old json.RawMessage `json:"old"`
	New json.RawMessage `json:"new"`
	// Unchanged names columns that are missing from New because the update did not touch their value, which is stored out of
	// line. A sink leaves them as they are.
	Unchanged []string `json:"unchanged"`
	// KeyChanged is set on the delete and the insert that an update of the key becomes, except in partitioned tables: there, the row may
	// have moved to another partition, which the WAL does not tell from a delete and an insert.
	KeyChanged    bool      `json:"key_changed,omitempty"`
	XID           int64     `json:"xid"`
	LSN           string    `json:"lsn"`     // of the commit, as pg_lsn writes it; empty in trigger mode if it is not known
	Ordinal       int       `json:"ordinal"` // within the transaction, from 1
	CommittedAt   time.Time `json:"committed_at"`
	SchemaVersion int       `json:"schema_version"`
	Snapshot      bool      `json:"snapshot"`
	// LookedUp says that the triggers wrote only the key, and that New is what the row was when the change was read.
	LookedUp bool `json:"looked_up,omitempty"`
	// Consumer is the only consumer that receives the change: it requested the snapshot that read the row. Empty means all consumers.
	Consumer string `json:"-"`
}

// Key names the row that a change is about, uniquely among all tables of a stream. All changes of a row have the same key. A
// truncate has the key of its table.
func Key(c Change) string {
	// Quote the names, because they may contain the separator.
	name := strconv.AppendQuote(make([]byte, 0, 128), c.Schema)
	name = strconv.AppendQuote(append(name, '.'), c.Table)
	key := bytes.NewBuffer(name)
	if len(c.Key) > 0 && !bytes.Equal(c.Key, []byte("null")) && json.Compact(key, c.Key) != nil {
		key.Truncate(len(name))
		key.Write(c.Key)
	}
	if c.Op == Sweep { // A sweep must not have the key of a truncate.
		key.WriteString(" " + string(Sweep))
	}
	return key.String()
}

// Hash returns a hash of the key, because the key itself may be too long for an index.
func Hash(c Change) []byte {
	sum := sha256.Sum256([]byte(Key(c)))
	return sum[:16]
}
