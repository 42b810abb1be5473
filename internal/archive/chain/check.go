package chain

import (
	"context"
	"fmt"
	"slices"

	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/store"
)

// Check returns an error if segments do not follow one another, except at gaps. A gap begins where the segment before it ends, and the chain
// continues at the first base after it. So a gap never excuses that segments before it, or between two gaps, are missing.
func (c *Chain) Check() error {
	to, hash := c.Manifest.From, ""
	for i, s := range c.Segments {
		here := c.across(to, s.From)
		if s.From != here || i > 0 && here == to && s.PreviousSHA256 != hash {
			return fmt.Errorf("a segment is missing: after %s comes %s", here, segment.Name(s.From))
		}
		to, hash = s.To, s.File.SHA256
	}
	if c.Open != "" {
		if c.Open < to {
			return fmt.Errorf("segment %s is not sealed, but others follow: its seal was lost", segment.Name(c.Open))
		}
		if here := c.across(to, c.Open); here != c.Open {
			return fmt.Errorf("a segment is missing: after %s comes %s", here, segment.Name(c.Open))
		}
		_, lsn, _ := segment.Whole(c.OpenPath())
		to = max(c.Open, segment.LSN(lsn))
	}
	return c.ended(to)
}

// ended returns an error if the chain ends before a gap.
func (c *Chain) ended(to string) error {
	if n := len(c.Bases); n > 0 {
		to = c.across(to, c.Bases[n-1].Position)
	}
	for _, g := range c.Gaps {
		// A gap without a base may be so new that the segments were listed before it.
		if _, has := c.next(g.From); has && g.Kind == GapSlot && g.From > to {
			return fmt.Errorf("a segment is missing: after %s comes the gap from %s on", to, g.From)
		}
	}
	return nil
}

// across returns where the chain continues after a position: after gaps that begin there, at the base that follows the last of them.
func (c *Chain) across(position, until string) string {
	for position < until {
		next, has := c.next(position)
		gap := slices.ContainsFunc(c.Gaps, func(g Gap) bool { return g.Kind == GapSlot && g.From == position })
		if !gap || !has || next.Position > until {
			break
		}
		position = next.Position
	}
	return position
}

// all returns the archive's files that have a checksum.
func (c *Chain) all() []store.File {
	all := append([]store.File{}, c.Manifest.Files...)
	for i := range c.Bases {
		all = append(append(all, c.Bases[i].Files...), c.Bases[i].Globals)
	}
	for _, s := range c.Segments {
		all = append(all, s.File)
	}
	return all
}

// Size returns the number and the size of the files that Verify compares.
func (c *Chain) Size() (files int, bytes int64) { return size(c.all()) }

// Verify is Check, and also compares every file with its checksum. It returns the number of files.
func (c *Chain) Verify(ctx context.Context) (files int, err error) {
	if err := c.Check(); err != nil {
		return 0, err
	}
	for _, file := range c.all() {
		if err := c.store.Check(ctx, file); err != nil {
			return files, err
		}
		files++
	}
	return files, c.unmixed(ctx)
}

// filesFor returns the files that a restore from a base needs: the base's files and the segments that follow it.
func (c *Chain) filesFor(base Base) []store.File {
	all := slices.Clone(base.Files)
	for _, s := range c.After(base) {
		all = append(all, s.File)
	}
	return all
}

// SizeFor returns the number and the size of the files that VerifyFor verifies.
func (c *Chain) SizeFor(base Base) (files int, bytes int64) { return size(c.filesFor(base)) }

func size(files []store.File) (n int, bytes int64) {
	for _, file := range files {
		bytes += file.Bytes
	}
	return len(files), bytes
}

// VerifyFor verifies the files that a restore from a base needs.
func (c *Chain) VerifyFor(ctx context.Context, base Base) error {
	if err := c.Check(); err != nil {
		return err
	}
	for _, file := range c.filesFor(base) {
		if err := c.store.Check(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

// After returns the sealed segments that have transactions after a base.
func (c *Chain) After(base Base) (after []segment.Seal) {
	for _, s := range c.Segments {
		if s.To > base.Position {
			after = append(after, s)
		}
	}
	return after
}
