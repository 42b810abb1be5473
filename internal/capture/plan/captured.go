package plan

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/postgres"
)

// What names the object that the step is about.
func (s Step) What() string {
	if s.Capture != "" {
		return "capture of " + s.Capture
	}
	return "sink " + s.Sink
}

// captures compares the tables that the file captures with those that are captured now. A file without captured tables leaves them as
// they are. Unless remove is set, the plan refuses to end the capture of a table: it may be a typo.
func captures(ctx context.Context, on postgres.DBTX, file Wanted, remove bool) (Plan, error) {
	var plan Plan
	for _, name := range slices.Sorted(maps.Keys(file.Tables)) {
		there, err := stream.Get(ctx, on, name)
		if err != nil {
			return nil, err
		}
		wanted := stream.Config{Name: name, URL: file.Databases[name], Tables: file.Tables[name], KeysOnly: file.KeysOnly, NoRepair: file.NoRepair}
		step := Step{Verb: Keep, Capture: name, stream: wanted}
		var differs []string
		for _, pattern := range wanted.Tables {
			if !slices.Contains(there.Tables, pattern) {
				differs = append(differs, "+"+pattern)
			}
		}
		for _, pattern := range there.Tables {
			if !slices.Contains(wanted.Tables, pattern) {
				differs = append(differs, "-"+pattern)
			}
		}
		if there.URL != wanted.URL && there.URL != "" {
			differs = append(differs, "database "+wanted.URL)
		}
		if !slices.Equal(there.KeysOnly, wanted.KeysOnly) {
			differs = append(differs, fmt.Sprintf("only keys of %q", wanted.KeysOnly))
		}
		if there.NoRepair != wanted.NoRepair {
			differs = append(differs, fmt.Sprintf("repair: %t", !wanted.NoRepair))
		}
		if len(differs) > 0 {
			step.Verb, step.Why = Change, strings.Join(differs, " ")
			if len(there.Tables) == 0 {
				step.Verb, step.Why = Create, strings.Join(wanted.Tables, " ")
			}
		}
		if len(there.Tables) > 0 && !remove {
			gone, err := lost(ctx, on, there, wanted)
			if err != nil {
				return nil, err
			}
			if gone != "" {
				step.Verb, step.Why = Refuse, "it would stop capturing "+gone+": name what is missing in the file, or use --remove"
			}
		}
		plan = append(plan, step)
	}
	return plan, nil
}

// mostNamed is how many tables a step names.
const mostNamed = 5

// lost returns the tables that are captured now, and that a stream with other patterns would not capture.
func lost(ctx context.Context, on postgres.DBTX, there, wanted stream.Config) (string, error) {
	before, err := filter.ParseTables(there.Tables)
	if err != nil {
		return "", err
	}
	after, err := filter.ParseTables(wanted.Tables)
	if err != nil {
		return "", err
	}
	captured, err := stream.Tables(ctx, on, there.Name)
	if err != nil {
		return "", err
	}
	var names []string
	for _, t := range captured {
		kept := len(wanted.Tables) > 0 && after.Match(t.Schema, t.Table)
		if t.Reason == "" && !kept && before.Match(t.Schema, t.Table) {
			names = append(names, t.Schema+"."+t.Table)
		}
	}
	if more := len(names) - mostNamed; more > 0 {
		names = append(names[:mostNamed], fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", "), nil
}

// Of returns the steps of a plan that are about one sink.
func (p Plan) Of(sink string) Plan {
	return slices.DeleteFunc(slices.Clone(p), func(s Step) bool { return s.Sink != sink })
}

// OfCapture is the part of a plan that is about captured tables.
func (p Plan) OfCapture() Plan {
	return slices.DeleteFunc(slices.Clone(p), func(s Step) bool { return s.Capture == "" })
}

// OfSinks is the part of a plan that is about sinks.
func (p Plan) OfSinks() Plan {
	return slices.DeleteFunc(slices.Clone(p), func(s Step) bool { return s.Sink == "" })
}
