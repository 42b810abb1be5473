// Package chain describes what an archive consists of: bases, segments that follow one another, and the known gaps between them.
//
//	manifest.json            the database, and how to read it
//	bases/POSITION/          a dump in parts; base.json is written last, when the base is complete
//	segments/POSITION.sql    transactions from that position on; POSITION.sql.json is its seal, with the checksum of the previous one
//	gaps/POSITION.json       transactions are missing from that position to the next base
//	proofs/TIME.json         the result of a restore that was compared with its source
package chain

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/store"
)

// Format is the format of archives that this version writes and reads.
const Format = 2

// ManifestName is the name of the manifest's file.
const ManifestName = "manifest.json"

const (
	basesDir  = "bases/"
	gapsDir   = "gaps/"
	proofsDir = "proofs/"
)

// Manifest says which database an archive belongs to, and how to read the archive.
type Manifest struct {
	Format      int               `json:"format"`
	Slot        string            `json:"slot"` // and the publication
	SystemID    string            `json:"system_id"`
	Database    string            `json:"database"`
	Version     string            `json:"version"`
	Encoding    string            `json:"encoding"`
	Collation   string            `json:"collation"`
	Extensions  map[string]string `json:"extensions"`
	Compression string            `json:"compression"`
	Recipients  []string          `json:"recipients"` // public keys that files are encrypted for
	// Detection is true if event triggers are not allowed: a new base follows each schema change that is detected.
	Detection bool         `json:"detection"`
	From      string       `json:"from"` // where the first segment begins; empty until the first base is complete
	CreatedAt time.Time    `json:"created_at"`
	Files     []store.File `json:"files"` // files that a restore without Daymill needs
}

// Codec returns the codec of the archive's files.
func (m *Manifest) Codec() (store.Codec, error) { return store.NewCodec(m.Compression, m.Recipients) }

// Base is a dump of the database as it was at a position.
type Base struct {
	Position string        `json:"position"`
	At       time.Time     `json:"at"` // everything in it was committed by then
	Reason   string        `json:"reason"`
	Took     time.Duration `json:"took"`
	Files    []store.File  `json:"files"` // in the order of a restore, without globals.sql
	Globals  store.File    `json:"globals"`
	Schema   string        `json:"schema,omitempty"` // its version, if changes are detected; see ddl.Version
}

// Bytes is the size of the base.
func (b *Base) Bytes() (sum int64) {
	for _, f := range b.Files {
		sum += f.Bytes
	}
	return sum + b.Globals.Bytes
}

// BaseDir returns the directory of a base's files.
func BaseDir(position string) string { return basesDir + strings.Replace(position, "/", "-", 1) + "/" }

// Kinds of gaps.
const (
	GapSlot   = "slot"   // transactions are missing
	GapSchema = "schema" // the archive does not have a change of the schema
)

// Gap says that the archive cannot be restored from a position to its next base.
type Gap struct {
	From   string    `json:"from"`
	At     time.Time `json:"at"` // of the last transaction before it
	Kind   string    `json:"kind"`
	Reason string    `json:"reason"`
}

// Proof is a restore that was compared with its source.
type Proof struct {
	At       time.Time     `json:"at"`
	Took     time.Duration `json:"took"`
	Base     string        `json:"base"`
	Position string        `json:"position"`
	Tables   int           `json:"tables"`
	Rows     int64         `json:"rows"`
	Failure  string        `json:"failure"` // empty if everything was equal
}

// Chain lists the content of an archive.
type Chain struct {
	Manifest Manifest
	Bases    []Base
	Segments []segment.Seal
	Open     string // position where the current segment begins; empty if there is none
	Gaps     []Gap
	Proofs   []Proof

	store *store.Store
}

// ErrNone means that there is no archive.
var ErrNone = errors.New("there is no archive there: correct DAYMILL_ARCHIVE or --archive, or run daymill archive init")

// ErrUnfinished means that an archive was begun, and has no base yet.
var ErrUnfinished = errors.New("the archive is not complete yet: if daymill archive init was interrupted, run it again")

// ReadManifest reads an archive's manifest. With [ErrUnfinished], it also returns the manifest.
func ReadManifest(ctx context.Context, s *store.Store) (m Manifest, err error) {
	err = s.ReadJSON(ctx, ManifestName, &m)
	if errors.Is(err, store.ErrMissing) {
		return m, ErrNone
	}
	if err == nil && m.Format > Format {
		return m, fmt.Errorf("the archive has format %d, but this version of Daymill reads format %d: use a newer version", m.Format, Format)
	}
	if err == nil && m.Format != Format {
		return m, fmt.Errorf("the archive has format %d, but this version reads format %d: begin a new archive with daymill archive remove and init", m.Format, Format)
	}
	if err == nil && m.From == "" {
		return m, ErrUnfinished
	}
	return m, err
}

// WriteManifest writes an archive's manifest.
func WriteManifest(ctx context.Context, s *store.Store, m Manifest) error {
	return s.PutJSON(ctx, ManifestName, m)
}

// Reader reads an archive repeatedly. It reads files that do not change only once.
type Reader struct {
	mu    sync.Mutex
	seals map[string]segment.Seal
	bases map[string]Base
	rest  map[string]any
}

// Read reads an archive.
func (r *Reader) Read(ctx context.Context, s *store.Store) (c Chain, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seals == nil {
		r.seals, r.bases, r.rest = map[string]segment.Seal{}, map[string]Base{}, map[string]any{}
	}
	c.store = s
	if c.Manifest, err = ReadManifest(ctx, s); err != nil {
		return c, err
	}
	if c.Segments, c.Open, err = segment.List(ctx, s, r.seals); err != nil {
		return c, err
	}
	// Earlier segments are deleted or about to be.
	c.Segments = slices.DeleteFunc(c.Segments, func(seal segment.Seal) bool { return seal.From < c.Manifest.From })
	names, err := s.Names(ctx, basesDir)
	if err != nil {
		return c, err
	}
	if c.Bases, err = readAll(ctx, s, slices.DeleteFunc(names, func(name string) bool { return !baseNamed(name) }), r.bases); err != nil {
		return c, err
	}
	if c.Gaps, err = list[Gap](ctx, s, gapsDir, r.rest); err != nil {
		return c, err
	}
	c.Proofs, err = list[Proof](ctx, s, proofsDir, r.rest)
	return c, err
}

// Read reads an archive once.
func Read(ctx context.Context, s *store.Store) (Chain, error) { return (&Reader{}).Read(ctx, s) }

func readAll[T any](ctx context.Context, s *store.Store, names []string, known map[string]T) (all []T, err error) {
	for _, name := range names {
		one, has := known[name]
		if !has {
			if err := s.ReadJSON(ctx, name, &one); err != nil {
				return nil, err
			}
			known[name] = one
		}
		all = append(all, one)
	}
	return all, nil
}

func list[T any](ctx context.Context, s *store.Store, dir string, known map[string]any) (all []T, err error) {
	names, err := s.Names(ctx, dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !named(dir, name) {
			continue // It does not belong to the archive. See Strays.
		}
		one, has := known[name].(T)
		if !has {
			if err := s.ReadJSON(ctx, name, &one); err != nil {
				return nil, err
			}
			known[name] = one
		}
		all = append(all, one)
	}
	return all, nil
}

// AddBase marks a base as complete.
func AddBase(ctx context.Context, s *store.Store, b Base) error {
	return s.PutJSON(ctx, BaseDir(b.Position)+"base.json", b)
}

// AddGap writes a gap.
func AddGap(ctx context.Context, s *store.Store, g Gap) error {
	return s.PutJSON(ctx, gapsDir+strings.Replace(g.From, "/", "-", 1)+".json", g)
}

// AddProof writes a proof.
func AddProof(ctx context.Context, s *store.Store, p Proof) error {
	return s.PutJSON(ctx, proofsDir+p.At.UTC().Format(proofTime)+".json", p)
}

// End returns the position where the archive ends, and the commit time of its last transaction.
func (c *Chain) End() (to string, last time.Time) {
	return c.end(c.Written())
}

// end is End for what Written has returned, which reads the current segment.
func (c *Chain) end(written string, lastCommit time.Time) (to string, last time.Time) {
	if n := len(c.Bases); n > 0 && c.Bases[n-1].Position > written {
		return c.Bases[n-1].Position, c.Bases[n-1].At
	}
	return written, lastCommit
}

// Written returns up to where the archive has transactions, and the commit time of the last one. A base may be later, if it was made while
// the stream was behind or did not run.
func (c *Chain) Written() (to string, last time.Time) {
	to = c.Begins()
	for _, b := range c.Bases {
		if b.Position <= to {
			last = b.At
		}
	}
	for _, s := range c.Segments {
		to = max(to, s.To)
		if s.Transactions > 0 {
			last = s.LastCommit
		}
	}
	if c.Open != "" {
		_, lsn, at := segment.Whole(c.OpenPath())
		to = max(to, segment.LSN(lsn))
		if !at.IsZero() {
			last = at
		}
	}
	return to, last
}

// Begins returns where the current chain of segments begins: after a gap, at the base that followed it.
func (c *Chain) Begins() string {
	from := c.Manifest.From
	for _, gap := range c.Gaps {
		if next, has := c.next(gap.From); has && gap.Kind == GapSlot {
			from = max(from, next.Position)
		}
	}
	return from
}

// next returns the first base after a position.
func (c *Chain) next(position string) (next Base, has bool) {
	for _, b := range c.Bases {
		if b.Position > position {
			return b, true
		}
	}
	return next, false
}

// Missing returns the gaps to record when the transactions after the last written one are lost: one from there to the next base, and one from
// each base after it.
func (c *Chain) Missing(reason string) (gaps []Gap) {
	to, last := c.Written()
	gaps = []Gap{{From: to, At: last, Kind: GapSlot, Reason: reason}}
	for _, b := range c.Bases {
		if b.Position > to {
			gaps = append(gaps, Gap{From: b.Position, At: b.At, Kind: GapSlot, Reason: reason})
		}
	}
	return gaps
}

// Since returns the earliest time from which every later time can be restored.
func (c *Chain) Since() (at time.Time) {
	for _, b := range c.Bases {
		if b.Position >= c.Manifest.From {
			return b.At
		}
	}
	return at
}

// OpenPath returns the path of the current segment.
func (c *Chain) OpenPath() string { return filepath.Join(c.store.Dir(), segment.Name(c.Open)) }

// Target is the point to restore to: a position, a time, or the end if both are zero.
type Target struct {
	LSN  pglogrepl.LSN
	Time time.Time
}

// Choose returns the base that a restore begins with. It returns an error for a target in a gap, before the first base, or after the end.
func (c *Chain) Choose(target Target) (base Base, err error) {
	lsn := ""
	if target.LSN != 0 {
		lsn = segment.LSN(target.LSN)
	}
	beyond := func(position string, at time.Time) bool {
		return (lsn == "" || lsn > position) && (target.Time.IsZero() || target.Time.After(at))
	}
	found := false
	for _, b := range c.Bases {
		if beyond(b.Position, b.At) || lsn == b.Position {
			base, found = b, true
		}
	}
	written, lastCommit := c.Written()
	to, last := c.end(written, lastCommit)
	switch {
	case len(c.Bases) == 0:
		return base, errors.New("the archive has no complete base: run daymill archive base")
	case !found:
		return base, fmt.Errorf("the archive begins at %s, %s, and ends at %s, %s: choose a position or time between them",
			c.Bases[0].Position, c.Bases[0].At.Format(time.RFC3339Nano), to, last.Format(time.RFC3339Nano))
	case lsn > to:
		return base, fmt.Errorf("the archive ends at %s, %s: choose an earlier position", to, last.Format(time.RFC3339Nano))
	}
	for _, g := range c.Gaps {
		if g.From >= base.Position && beyond(g.From, g.At) {
			return base, fmt.Errorf("the archive has a gap from %s, %s, to %s (%s): choose a position or time outside of it",
				g.From, g.At.Format(time.RFC3339Nano), c.after(g), g.Reason)
		}
	}
	next, has := c.next(base.Position)
	switch {
	// A base can be made before the stream has written the transactions before it.
	case has && written < next.Position && beyond(max(written, base.Position), lastCommit) && lsn != base.Position:
		return base, fmt.Errorf("the archive does not have the transactions between %s and its base %s yet: wait until daymill archive run, or a worker, has written them, or choose another position or time",
			written, next.Position)
	case !has && target.Time.After(last):
		return base, fmt.Errorf("the archive's last transaction is of %s: choose an earlier time, or leave it out to restore everything", last.Format(time.RFC3339Nano))
	}
	// The transactions between an old base and the first segment were pruned.
	if from := c.Manifest.From; base.Position < from && lsn != base.Position {
		return base, fmt.Errorf("transactions between the base %s and %s were pruned: choose %s, or a position from %s on", base.Position, from, base.Position, from)
	}
	if from := c.follows(base); from > base.Position && lsn != base.Position {
		return base, fmt.Errorf("the archive does not have the transactions between its base %s and %s: choose another position or time", base.Position, from)
	}
	return base, nil
}

// follows returns where the first segment begins that has transactions after a base; empty if there is none.
func (c *Chain) follows(base Base) string {
	for _, s := range c.After(base) {
		return s.From
	}
	return c.Open
}

// Joined returns an error if the archive does not have all transactions between a base and a later position.
func (c *Chain) Joined(base Base, position string) error {
	for _, g := range c.Gaps {
		if g.From >= base.Position && g.From < position {
			return errors.New("there is a gap after it")
		}
	}
	if base.Position < c.Manifest.From || c.follows(base) > base.Position {
		return errors.New("transactions after it were pruned, or are missing")
	}
	if to, _ := c.Written(); position > to {
		return fmt.Errorf("transactions from %s on are not archived yet", to)
	}
	return nil
}

// after returns where a gap ends: at the next base.
func (c *Chain) after(g Gap) string {
	if next, has := c.next(g.From); has {
		return next.Position
	}
	return "its end"
}

// Gapped reports whether the archive needs a new base: nothing after its last gap can be restored.
func (c *Chain) Gapped() bool {
	return len(c.Gaps) > 0 && (len(c.Bases) == 0 || c.Gaps[len(c.Gaps)-1].From >= c.Bases[len(c.Bases)-1].Position)
}
