package view

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/document"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/text"
	"github.com/daymill/daymill/internal/view/definition"
	"github.com/daymill/daymill/internal/view/plan"
)

// Verbs of steps.
const (
	StepCreate  = "create"
	StepRebuild = "rebuild"
	StepAlter   = "alter" // columns are added or dropped in place
	StepKeep    = "keep"
)

// replayed is how many positions before the head of the log a new view begins, because a transaction may be in the log before its rows are visible.
const replayed = 10_000

// asked names who requested a task.
type asked = audit.Who

// Step is what Apply does for one definition.
type Step struct {
	Verb string `json:"verb"`
	View string `json:"view"`
	Why  string `json:"why,omitempty"`
	// Notes are hints, such as a missing right or a missing index.
	Notes []string `json:"notes,omitempty"`

	plan *plan.Plan
}

// Plan returns what applying definitions would do. The error is of type document.Mistakes if the definitions have mistakes.
func (e *Engine) Plan(ctx context.Context, definitions []definition.Definition) ([]Step, error) {
	steps := make([]Step, 0, len(definitions))
	var mistakes document.Mistakes
	for _, d := range definitions {
		followed, err := e.followed(ctx, d.Name)
		if err != nil {
			return nil, err
		}
		made, err := followed.Make(ctx, e.DB, e.Databases, d)
		if wrong, ok := errors.AsType[document.Mistakes](err); ok {
			mistakes = append(mistakes, wrong...)
			continue
		}
		if err != nil {
			return nil, err
		}
		s := Step{View: d.Name, plan: made}
		err = e.compare(ctx, &s)
		if IsRefused(err) {
			mistakes = append(mistakes, document.Mistake{File: d.File, Line: d.Line, Column: d.Column, Text: err.Error()})
			continue
		}
		if err != nil {
			return nil, err
		}
		if s.Verb != StepKeep {
			if s.Notes, err = e.notes(ctx, made); err != nil {
				return nil, err
			}
		}
		steps = append(steps, s)
	}
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	return steps, nil
}

// compare returns what a definition changes.
func (e *Engine) compare(ctx context.Context, s *Step) error {
	v, err := Get(ctx, e.DB, s.View)
	if errors.Is(err, ErrNone) {
		var taken bool
		if err := e.DB.QueryRow(ctx, "SELECT pg_catalog.to_regclass($1) IS NOT NULL", plan.Table(s.View)).Scan(&taken); err != nil {
			return fmt.Errorf("look up table %s: %w", plan.Table(s.View), err)
		}
		if taken {
			return refusef("Daymill did not create the existing table %s: drop it, or give the view another name", plan.Table(s.View))
		}
		s.Verb = StepCreate
		s.Why = fmt.Sprintf("%s of %s; built in chunks, while changes continue",
			text.Plural(int64(len(visible(s.plan))), "column"), text.Plural(int64(len(s.plan.Sources)), "table"))
		return nil
	}
	if err != nil {
		return err
	}
	versions, err := Versions(ctx, e.DB, v.ID)
	if err != nil {
		return err
	}
	if len(versions) == 0 {
		s.Verb, s.Why = StepRebuild, "it has no table"
		return nil
	}
	last := versions[len(versions)-1].Plan
	before, err := json.Marshal(last.Definition)
	if err != nil {
		return fmt.Errorf("compare definitions: %w", err)
	}
	after, err := json.Marshal(s.plan.Definition)
	if err != nil {
		return fmt.Errorf("compare definitions: %w", err)
	}
	if bytes.Equal(before, after) && versions[len(versions)-1].Stale == "" {
		s.Verb = StepKeep
		return nil
	}
	s.Verb, s.Why = StepRebuild, differences(last, s.plan)
	if a := alteration(versions, s.plan); a != nil {
		s.Verb, s.Why = StepAlter, a.Says()
	}
	return nil
}

func visible(p *plan.Plan) []plan.Output {
	return slices.DeleteFunc(slices.Clone(p.Outputs), func(o plan.Output) bool { return o.Hidden })
}

// differences describes the changes between two plans, and how they are made.
func differences(before, after *plan.Plan) string {
	var added, dropped, changed []string
	find := func(p *plan.Plan, name string) (plan.Output, bool) {
		at := slices.IndexFunc(p.Outputs, func(o plan.Output) bool { return o.Name == name && !o.Hidden })
		if at < 0 {
			return plan.Output{}, false
		}
		return p.Outputs[at], true
	}
	for _, o := range visible(after) {
		old, has := find(before, o.Name)
		switch {
		case !has:
			added = append(added, o.Name)
		case old.SQL != o.SQL || old.Type != o.Type:
			changed = append(changed, o.Name)
		}
	}
	for _, o := range visible(before) {
		if _, has := find(after, o.Name); !has {
			dropped = append(dropped, o.Name)
		}
	}
	var parts []string
	for _, part := range []struct {
		what  string
		names []string
	}{{"adds", added}, {"drops", dropped}, {"changes", changed}} {
		if len(part.names) > 0 {
			parts = append(parts, part.what+" "+strings.Join(part.names, ", "))
		}
	}
	if len(parts) == 0 {
		parts = []string{"joins, conditions or indexes differ"}
	}
	return strings.Join(parts, "; ") + "; a new table is built in chunks, and then replaces the old one by a rename, which locks both for a moment"
}

// notes returns what a plan needs, so that a view is kept up to date, and quickly. A right may be granted later: tasks are tried again.
func (e *Engine) notes(ctx context.Context, p *plan.Plan) ([]string, error) {
	lacks, err := e.Rights(ctx, p, func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	slow, err := e.Notes(ctx, p)
	if err != nil {
		return nil, err
	}
	notes := make([]string, 0, len(lacks)+len(slow))
	for _, lack := range lacks {
		notes = append(notes, lack.Sentence)
	}
	return append(notes, slow...), nil
}

// Notes returns what makes refreshes slow: columns without an index that joins compare, or by which changed rows are found.
func (e *Engine) Notes(ctx context.Context, p *plan.Plan) ([]string, error) {
	var notes []string
	for i, source := range p.Sources {
		on, names, cost := e.DB, p.Joined(i), "refreshes"
		if source.Mirror != "" { // The mirror has indexes for joins.
			names, cost = nil, "each poll for changes"
		}
		if changed := p.Definition.Tables[i].Changed; changed != "" {
			var err error
			if on, _, err = e.Databases.Open(ctx, p.Definition.Tables[i].Database); err != nil {
				return nil, err
			}
			names = []string{changed}
		}
		for _, name := range names {
			column, _ := source.Column(name)
			var has bool
			err := on.QueryRow(ctx, `
				SELECT EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = $1 AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = $2)`,
				source.OID, column.Number).Scan(&has)
			if err != nil {
				return nil, fmt.Errorf("read the indexes: %w", err)
			}
			if !has {
				table := pgx.Identifier{source.Schema, source.Name}.Sanitize()
				notes = append(notes, fmt.Sprintf("no index of %s begins with %s, so %s may read the whole table: CREATE INDEX CONCURRENTLY ON %s (%s)",
					table, pgx.Identifier{name}.Sanitize(), cost, table, pgx.Identifier{name}.Sanitize()))
			}
		}
	}
	return notes, nil
}

// Apply carries out a plan, with one transaction per view.
func (e *Engine) Apply(ctx context.Context, steps []Step, who audit.Who) error {
	for _, s := range steps {
		if s.Verb == StepKeep {
			continue
		}
		err := e.DB.Tx(ctx, func(tx pgx.Tx) error {
			if s.Verb == StepCreate {
				return e.create(ctx, tx, s, who)
			}
			v, err := Get(ctx, tx, s.View)
			if err != nil {
				return err
			}
			held, err := v.held(ctx, tx)
			switch {
			case err != nil:
				return err
			case held:
				return e.redefine(ctx, tx, v, s.plan, who)
			default:
				return e.change(ctx, tx, v, s.plan, who)
			}
		})
		if err != nil {
			return fmt.Errorf("%s view %s: %w", s.Verb, s.View, err)
		}
	}
	return nil
}

func (e *Engine) create(ctx context.Context, tx pgx.Tx, s Step, who audit.Who) error {
	id, err := db.New(tx).ViewInsert(ctx, s.View)
	if err != nil {
		return fmt.Errorf("create view %s: %w", s.View, err)
	}
	if err := e.consumers(ctx, tx, View{ID: id, Name: s.View}, s.plan, who); err != nil {
		return err
	}
	if _, err := e.build(ctx, tx, id, s.plan, who); err != nil {
		return err
	}
	if err := e.capture(ctx, tx); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "create view", Target: s.View})
}

// replace builds a new table for a view. It drops a table that is still being built.
func (e *Engine) replace(ctx context.Context, tx pgx.Tx, existing View, made *plan.Plan, who audit.Who) (task int64, err error) {
	if err := lock(ctx, tx, existing.ID); err != nil {
		return 0, err
	}
	versions, err := Versions(ctx, tx, existing.ID)
	if err != nil {
		return 0, err
	}
	queries := db.New(tx)
	for _, old := range versions {
		if old.State != Building {
			continue
		}
		if err := old.drop(ctx, tx); err != nil {
			return 0, err
		}
		if err := queries.ViewTaskCancelVersion(ctx, old.ID); err != nil {
			return 0, fmt.Errorf("cancel the tasks of view %s: %w", existing.Name, err)
		}
		if err := queries.VersionDelete(ctx, old.ID); err != nil {
			return 0, fmt.Errorf("give up a table of view %s: %w", existing.Name, err)
		}
	}
	if err := e.consumers(ctx, tx, existing, made, who); err != nil {
		return 0, err
	}
	if task, err = e.build(ctx, tx, existing.ID, made, who); err != nil {
		return 0, err
	}
	if err := e.capture(ctx, tx); err != nil {
		return 0, err
	}
	return task, audit.Record(ctx, tx, audit.Entry{Who: who, Action: "rebuild view", Target: existing.Name})
}

// consumers creates the missing consumers for a view's streams.
func (e *Engine) consumers(ctx context.Context, tx pgx.Tx, v View, p *plan.Plan, who audit.Who) error {
	for _, name := range p.Definition.Databases() {
		if name == definition.App {
			continue
		}
		if _, err := e.variable(ctx, tx, name); err != nil {
			return err
		}
	}
	for _, stream := range p.Streams() {
		name := v.Consumer(stream)
		if _, err := consumer.Get(ctx, tx, name); err == nil {
			continue
		} else if !errors.Is(err, consumer.ErrNone) {
			return err
		}
		var position int64
		head, err := db.New(tx).StreamHead(ctx, stream)
		switch {
		case errors.Is(err, pgx.ErrNoRows): // Nothing is captured yet.
		case err != nil:
			return fmt.Errorf("read stream %s: %w", stream, err)
		default:
			position = max(head.Forgotten, head.Position-replayed, 0)
		}
		settings, err := json.Marshal(map[string]any{"view": v.ID, "title": v.Name})
		if err != nil {
			return fmt.Errorf("write the settings of %s: %w", name, err)
		}
		err = consumer.Create(ctx, tx, consumer.Consumer{Name: name, Stream: stream, Kind: Kind, Settings: settings}, position, who)
		if err != nil {
			return err
		}
	}
	return nil
}

// Rebuild builds a view's table again while the old table is served.
func (e *Engine) Rebuild(ctx context.Context, name string, who audit.Who) (task int64, err error) {
	v, err := Get(ctx, e.DB, name)
	if err != nil {
		return 0, err
	}
	versions, err := Versions(ctx, e.DB, v.ID)
	if err != nil {
		return 0, err
	}
	if len(versions) == 0 {
		return 0, refusef("view %s has no definition: apply one", name)
	}
	made, err := plan.Make(ctx, e.DB, e.Databases, versions[len(versions)-1].Plan.Definition)
	if err != nil {
		return 0, err
	}
	err = e.DB.Tx(ctx, func(tx pgx.Tx) error {
		task, err = e.replace(ctx, tx, v, made, who)
		return err
	})
	return task, err
}

// Pause pauses a view: its table stays unchanged until Resume. Workers lose its tasks, so that they do not continue until their turns are over.
func Pause(ctx context.Context, tx pgx.Tx, v View, because string, who audit.Who) error {
	_, err := db.New(tx).ViewPause(ctx, db.ViewPauseParams{ID: v.ID, Because: because})
	if err == nil {
		err = db.New(tx).ViewTaskStop(ctx, v.ID)
	}
	if err != nil {
		return fmt.Errorf("pause view %s: %w", v.Name, err)
	}
	if err := eachConsumer(ctx, tx, v, func(name string) error { return consumer.Pause(ctx, tx, name, because, who) }); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "pause view", Target: v.Name})
}

// Resume resumes a paused view where it stopped. It refuses if drift has paused the view, which would pause it again.
func Resume(ctx context.Context, tx pgx.Tx, v View, who audit.Who) error {
	held, err := v.held(ctx, tx)
	if err != nil {
		return err
	}
	if held {
		return refusef("view %s cannot continue, because its tables have changed (%s): run `daymill view drift accept %s`, or apply a changed definition", v.Name, v.PausedBecause, v.Name)
	}
	return resume(ctx, tx, v, who)
}

func resume(ctx context.Context, tx pgx.Tx, v View, who audit.Who) error {
	if _, err := db.New(tx).ViewResume(ctx, v.ID); err != nil {
		return fmt.Errorf("resume view %s: %w", v.Name, err)
	}
	if err := eachConsumer(ctx, tx, v, func(name string) error { return consumer.Resume(ctx, tx, name, who) }); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "resume view", Target: v.Name})
}

func eachConsumer(ctx context.Context, on postgres.DBTX, v View, do func(name string) error) error {
	return eachStream(ctx, on, v, func(stream string) error {
		if err := do(v.Consumer(stream)); err != nil && !errors.Is(err, consumer.ErrNone) {
			return err
		}
		return nil
	})
}

// eachStream calls do for each stream of a view's tables.
func eachStream(ctx context.Context, on postgres.DBTX, v View, do func(stream string) error) error {
	versions, err := Versions(ctx, on, v.ID)
	if err != nil {
		return err
	}
	done := map[string]bool{}
	for _, version := range versions {
		for _, stream := range version.Plan.Streams() {
			if done[stream] {
				continue
			}
			done[stream] = true
			if err := do(stream); err != nil {
				return err
			}
		}
	}
	return nil
}

// Remove drops a view's tables and removes the view.
func (e *Engine) Remove(ctx context.Context, name string, who audit.Who) error {
	return e.DB.Tx(ctx, func(tx pgx.Tx) error {
		v, err := Get(ctx, tx, name)
		if err != nil {
			return err
		}
		// Remove the consumers first: a worker also locks the shard first, and then the view.
		err = eachConsumer(ctx, tx, v, func(name string) error { return consumer.Remove(ctx, tx, name, who) })
		if err == nil {
			err = lock(ctx, tx, v.ID)
		}
		if err != nil {
			return err
		}
		versions, err := Versions(ctx, tx, v.ID)
		if err != nil {
			return err
		}
		for _, version := range versions {
			if err := version.drop(ctx, tx); err != nil {
				return err
			}
		}
		if _, err := db.New(tx).ViewDelete(ctx, v.ID); err != nil {
			return fmt.Errorf("remove view %s: %w", name, err)
		}
		if err := e.capture(ctx, tx); err != nil {
			return err
		}
		return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "remove view", Target: name})
	})
}

func marshal(p *plan.Plan) (json.RawMessage, error) {
	document, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("write the plan of view %s: %w", p.Definition.Name, err)
	}
	return document, nil
}
