// Package retention deletes the files that an archive no longer needs, according to a rule. Everything that
// is kept can be restored: a base is never deleted while segments that follow it are kept.
package retention

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/store"
)

const day = 24 * time.Hour

// Rule says how long to keep segments and bases. The base before the oldest kept segment is always kept,
// however old it is.
type Rule struct {
	Segments time.Duration // how far back a restore to any time is possible
	Bases    time.Duration // how long every base is kept
	Monthly  time.Duration // how long one base of each month is kept
}

// Default keeps segments for 7 days, bases for 30 days, and one of each month for a year.
func Default() Rule { return Rule{Segments: 7 * day, Bases: 30 * day, Monthly: 365 * day} }

// Plan says what a rule deletes.
type Plan struct {
	From     string // position where the kept segments begin
	Anchor   string // position of the base before these segments; empty if there is none
	Bases    []chain.Base
	Segments []segment.Seal
	Bytes    int64
}

// Make returns the plan for an archive.
func Make(c chain.Chain, rule Rule, now time.Time) (p Plan) {
	p.From = c.Manifest.From
	if len(c.Bases) == 0 {
		return p
	}
	// The newest base from before the time that the rule goes back to.
	anchor := c.Bases[0]
	for _, b := range c.Bases {
		if !b.At.After(now.Add(-rule.Segments)) {
			anchor = b
		}
	}
	p.Anchor = anchor.Position
	for i, s := range c.Segments {
		// The last segment always stays: it says which transaction was archived last, by which the stream notices an older copy of the database.
		if s.To > anchor.Position || i == len(c.Segments)-1 {
			p.From = s.From // After a gap the segments begin with the base.
			break
		}
		p.Segments = append(p.Segments, s)
		p.Bytes += s.File.Bytes
	}
	months := map[string]bool{}
	for _, b := range c.Bases {
		age := now.Sub(b.At)
		month := b.At.UTC().Format("2006-01")
		first := !months[month]
		months[month] = true
		if b.Position >= anchor.Position || age <= rule.Bases || first && age <= rule.Monthly {
			continue
		}
		p.Bases = append(p.Bases, b)
		p.Bytes += b.Bytes()
	}
	return p
}

// Prune deletes the files that a rule does not keep, and returns what it deleted. It is safe to interrupt it
// and run it again: it first records in the manifest where the segments begin, and a base no longer counts
// once its list of files is deleted.
func Prune(ctx context.Context, s *store.Store, rule Rule, now time.Time) (Plan, error) {
	c, err := chain.Read(ctx, s)
	if err != nil {
		return Plan{}, err
	}
	plan := Make(c, rule, now)
	if plan.From != c.Manifest.From {
		m := c.Manifest
		m.From = plan.From
		if err := chain.WriteManifest(ctx, s, m); err != nil {
			return plan, err
		}
	}
	for _, b := range plan.Bases {
		if err := s.Delete(ctx, chain.BaseDir(b.Position)+"base.json"); err != nil {
			return plan, err
		}
	}
	return plan, sweep(ctx, s, plan)
}

// sweep deletes files of segments before the first, and files of incomplete bases, whose deletion or creation was interrupted. A base that
// is being made is also incomplete, maybe for longer than a later one, so sweep deletes only files that are older than the anchor.
func sweep(ctx context.Context, s *store.Store, plan Plan) error {
	names, err := s.Names(ctx, "")
	if err != nil {
		return err
	}
	anchor, first := chain.BaseDir(plan.Anchor), segment.Name(plan.From)
	incomplete := func(dir string) bool {
		return plan.Anchor != "" && dir < anchor && segment.IsPosition(strings.TrimSuffix(strings.TrimPrefix(dir, "bases/"), "/")) && !slices.Contains(names, dir+"base.json")
	}
	for _, name := range names {
		_, own := segment.Position(name)
		old := own && strings.HasPrefix(name, segment.Dir+"/") && name < first
		if strings.HasPrefix(name, "bases/") {
			old = incomplete(name[:strings.LastIndex(name, "/")+1])
		}
		if !old {
			continue
		}
		if err := s.Delete(ctx, name); err != nil {
			return err
		}
	}
	dirs, err := s.Subdirectories("bases/")
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if !incomplete(dir) {
			continue
		}
		if err := s.DeleteSubdirectory(dir); err != nil {
			return err
		}
	}
	return nil
}
