// Package retention deletes what an archive does not need any more, by rule. What is kept can be restored: a base is never deleted while
// segments that are kept begin with it.
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

// Rule says how long to keep what. The base that the oldest kept segment follows is kept, however old it is.
type Rule struct {
	Segments time.Duration // how far back every time can be restored
	Bases    time.Duration // how long every base is kept
	Monthly  time.Duration // how long one base of each month is kept
}

// Default keeps segments for 7 days, bases for 30 days, and one of each month for a year.
func Default() Rule { return Rule{Segments: 7 * day, Bases: 30 * day, Monthly: 365 * day} }

// Plan is what a rule deletes.
type Plan struct {
	From     string // where the segments that stay begin
	Anchor   string // position of the base that they follow; empty if there is none
	Bases    []chain.Base
	Segments []segment.Seal
	Bytes    int64
}

// Make makes the plan for an archive.
func Make(c chain.Chain, rule Rule, now time.Time) (p Plan) {
	p.From = c.Manifest.From
	if len(c.Bases) == 0 {
		return p
	}
	// The newest base that is old enough for every time within the rule's to come after it.
	anchor := c.Bases[0]
	for _, b := range c.Bases {
		if !b.At.After(now.Add(-rule.Segments)) {
			anchor = b
		}
	}
	p.Anchor = anchor.Position
	for _, s := range c.Segments {
		if s.To <= anchor.Position {
			p.Segments = append(p.Segments, s)
			p.Bytes += s.File.Bytes
			p.From = max(p.From, s.To)
		}
	}
	// After a gap the segments begin with the base.
	for _, s := range c.Segments {
		if s.To > anchor.Position {
			p.From = s.From
			break
		}
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

// Prune deletes what the rule says. It may be interrupted and run again: the manifest says first where the segments
// begin, and a base is not one any more once its list of files is gone.
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

// sweep deletes files of segments before the first, and of bases that are none: deleted, or interrupted. A base that is being made is not
// whole either, and a later one may be whole before it, so only what is older than the anchor goes.
func sweep(ctx context.Context, s *store.Store, plan Plan) error {
	names, err := s.Names(ctx, "")
	if err != nil {
		return err
	}
	anchor, first := chain.BaseDir(plan.Anchor), segment.Name(plan.From)
	for _, name := range names {
		old := strings.HasPrefix(name, segment.Dir+"/") && name < first
		if strings.HasPrefix(name, "bases/") {
			dir := name[:strings.LastIndex(name, "/")+1]
			old = plan.Anchor != "" && dir < anchor && !slices.Contains(names, dir+"base.json")
		}
		if !old {
			continue
		}
		if err := s.Delete(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
