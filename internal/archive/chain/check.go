package chain

import (
	"context"
	"fmt"

	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/store"
)

// Check returns an error if segments do not follow one another, except at known gaps.
func (c *Chain) Check() error {
	to, hash := c.Manifest.From, ""
	for i, s := range c.Segments {
		follows := s.From == to && (i == 0 || s.PreviousSHA256 == hash)
		if !follows && !c.gapped(to, s.From) {
			return fmt.Errorf("a segment is missing: after %s comes %s", to, segment.Name(s.From))
		}
		to, hash = s.To, s.File.SHA256
	}
	if c.Open != "" && c.Open != to && !c.gapped(to, c.Open) {
		if c.Open < to {
			return fmt.Errorf("segment %s is not sealed, but others follow: its seal was lost", segment.Name(c.Open))
		}
		return fmt.Errorf("a segment is missing: after %s comes %s", to, segment.Name(c.Open))
	}
	return nil
}

// gapped reports whether there is a known gap between two positions.
func (c *Chain) gapped(from, to string) bool {
	gap, base := false, false
	for _, g := range c.Gaps {
		gap = gap || g.Kind == GapSlot && g.From >= from && g.From < to
	}
	for _, b := range c.Bases {
		base = base || b.Position == to
	}
	return gap && base
}

// Verify is Check, and also compares every file with its checksum. It returns the number of files.
func (c *Chain) Verify(ctx context.Context) (files int, err error) {
	if err := c.Check(); err != nil {
		return 0, err
	}
	all := append([]store.File{}, c.Manifest.Files...)
	for i := range c.Bases {
		all = append(append(all, c.Bases[i].Files...), c.Bases[i].Globals)
	}
	for _, s := range c.Segments {
		all = append(all, s.File)
	}
	for _, file := range all {
		if err := c.store.Check(ctx, file); err != nil {
			return files, err
		}
		files++
	}
	return files, nil
}

// VerifyFor verifies the files that a restore from a base needs: the base's files and the segments that follow it.
func (c *Chain) VerifyFor(ctx context.Context, base Base) error {
	if err := c.Check(); err != nil {
		return err
	}
	all := append([]store.File{}, base.Files...)
	for _, s := range c.After(base) {
		all = append(all, s.File)
	}
	for _, file := range all {
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
