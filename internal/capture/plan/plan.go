// Package plan compares a file with the existing sinks, and changes these to match the file. Applying the same file again does nothing.
package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/sink/kind"
	"github.com/daymill/daymill/internal/capture/snapshot"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/postgres"
)

// ErrRefused says that a plan has steps that would lose a position, or changes of a table.
var ErrRefused = errors.New("the file cannot be applied")

// Verbs of steps.
const (
	Create = "create"
	Change = "change"
	Keep   = "keep"
	Remove = "remove"
	Leave  = "leave"  // a sink that the file does not have
	Refuse = "refuse" // a change that would lose a position, or changes of a table
)

// Step is one step of a plan.
type Step struct {
	Verb string `json:"verb"`
	Sink string `json:"sink,omitempty"`
	// Capture is the database whose captured tables the step is about; then there is no sink.
	Capture string `json:"capture,omitempty"`
	Why     string `json:"why,omitempty"` // what differs, or what to do instead

	wanted Sink
	stream stream.Config
}

// Plan is the steps to take, in the order of the file.
type Plan []Step

// Options of a plan.
type Options struct {
	Remove bool // removes sinks that the file does not have, and ends the capture of tables that it no longer names
}

// Make compares a file with the existing sinks.
func Make(ctx context.Context, on postgres.DBTX, file Wanted, options Options) (Plan, error) {
	there, err := consumer.List(ctx, on)
	if err != nil {
		return nil, err
	}
	byName := map[string]consumer.Consumer{}
	for _, c := range there {
		byName[c.Name] = c.Consumer
	}
	plan, err := captures(ctx, on, file, options.Remove)
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, s := range file.Sinks {
		wanted[s.Name] = true
		step, err := compare(s, byName)
		if err != nil {
			return nil, err
		}
		plan = append(plan, step)
	}
	for _, c := range there {
		switch {
		case wanted[c.Name] || !slices.Contains(kind.Names(), c.Kind): // Consumers of kind function belong to applications.
		case options.Remove:
			plan = append(plan, Step{Verb: Remove, Sink: c.Name, Why: fmt.Sprintf("its position (%d) and %d dead letters are lost", c.Position, c.Letters)})
		default:
			plan = append(plan, Step{Verb: Leave, Sink: c.Name, Why: "it is not in the file: --remove removes it"})
		}
	}
	return plan, nil
}

func compare(s Sink, there map[string]consumer.Consumer) (Step, error) {
	step := Step{Sink: s.Name, wanted: s}
	c, has := there[s.Name]
	if !has {
		step.Verb, step.Why = Create, "from "+s.From
		return step, nil
	}
	move := "from database " + c.Stream + " to " + s.Database
	switch {
	case c.Kind != s.Kind:
		step.Verb, step.Why = Refuse, "its kind would change from "+c.Kind+" to "+s.Kind+": remove it first, or give the new one another name"
		return step, nil
	case c.Stream != s.Database:
		step.Verb, step.Why = Refuse, "it would move "+move+", where its position means something else: remove it first, or give the new one another name"
		return step, nil
	case c.Shards != s.Shards:
		step.Verb = Refuse
		step.Why = fmt.Sprintf("it would have %d shards instead of %d, whose positions differ: remove it first, or give the new one another name", s.Shards, c.Shards)
		return step, nil
	}
	var settings kind.Settings
	if err := json.Unmarshal(c.Settings, &settings); err != nil {
		return step, fmt.Errorf("read the settings of %s: %w", s.Name, err)
	}
	changed, err := differ(settings, s.Settings)
	if err != nil {
		return step, err
	}
	step.Verb = Keep
	if len(changed) > 0 {
		step.Verb = Change
		for i, field := range changed {
			step.Why += [...]string{"", ", "}[min(i, 1)] + field
		}
	}
	return step, nil
}

// differ names the settings that differ.
func differ(a, b kind.Settings) ([]string, error) {
	var maps [2]map[string]any
	for i, settings := range []kind.Settings{a, b} {
		document, err := json.Marshal(settings) //nolint:gosec // Secret names an environment variable.
		if err == nil {
			err = json.Unmarshal(document, &maps[i])
		}
		if err != nil {
			return nil, fmt.Errorf("compare settings: %w", err)
		}
	}
	var changed []string
	for field, value := range maps[0] {
		if !reflect.DeepEqual(value, maps[1][field]) {
			changed = append(changed, field)
		}
	}
	for field := range maps[1] {
		if _, has := maps[0][field]; !has {
			changed = append(changed, field)
		}
	}
	slices.Sort(changed)
	return changed, nil
}

// Refused returns an error if the plan has steps that are refused. It names all of them.
func (p Plan) Refused() error {
	var refused []string
	for _, step := range p {
		if step.Verb == Refuse {
			refused = append(refused, step.What()+": "+step.Why)
		}
	}
	if len(refused) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrRefused, strings.Join(refused, "; "))
}

// Head is the part of the log that a plan uses.
type Head interface {
	// Head returns the last position of a stream's log.
	Head(ctx context.Context, on postgres.DBTX, stream string) (int64, error)
}

// Apply carries out a plan in the caller's transaction.
func (p Plan) Apply(ctx context.Context, tx pgx.Tx, head Head, who audit.Who) error {
	if err := p.Refused(); err != nil {
		return err
	}
	counts := map[string]any{}
	for _, step := range p {
		count, _ := counts[step.Verb].(int)
		counts[step.Verb] = count + 1
		if err := step.apply(ctx, tx, head, who); err != nil {
			return err
		}
	}
	delete(counts, Keep)
	delete(counts, Leave)
	if len(counts) == 0 {
		return nil // Nothing was done, so there is nothing to audit.
	}
	return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "apply file", Target: "file", Detail: counts})
}

func (s Step) apply(ctx context.Context, tx pgx.Tx, head Head, who audit.Who) error {
	if s.Verb == Remove {
		return consumer.Remove(ctx, tx, s.Sink, who)
	}
	if s.Verb != Create && s.Verb != Change {
		return nil
	}
	if s.Capture != "" {
		return stream.Configure(ctx, tx, s.stream, who)
	}
	settings, err := json.Marshal(s.wanted.Settings) //nolint:gosec // See above.
	if err != nil {
		return fmt.Errorf("write the settings of %s: %w", s.Sink, err)
	}
	c := consumer.Consumer{
		Name: s.Sink, Stream: s.wanted.Database, Kind: s.wanted.Kind, Settings: settings, Shards: s.wanted.Shards,
	}
	if s.Verb == Change {
		return consumer.Update(ctx, tx, c, who)
	}
	after, err := position(ctx, tx, head, s.wanted)
	if err != nil {
		return err
	}
	if err := consumer.Create(ctx, tx, c, after, who); err != nil || s.wanted.From != Snapshot {
		return err
	}
	return snapshot.Request(ctx, tx, c.Stream, c.Name, nil)
}

// position returns the position after which a new sink begins. One that takes a snapshot begins at the head as well: the rows come through the log.
func position(ctx context.Context, tx pgx.Tx, head Head, s Sink) (int64, error) {
	if s.From != Now && s.From != Snapshot {
		return strconv.ParseInt(s.From, 10, 64)
	}
	after, err := head.Head(ctx, tx, s.Database)
	if err != nil {
		return 0, fmt.Errorf("find the head of the log of %s: %w", s.Database, err)
	}
	return after, nil
}
