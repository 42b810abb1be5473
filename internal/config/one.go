package config

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/daymill/daymill/internal/capture/plan"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/document"
	"github.com/daymill/daymill/internal/postgres"
)

// PlanSink returns the plan that applies one sink. Its settings are those of a file, in JSON and without the name. A mistake in them is a
// [document.Mistakes].
func PlanSink(ctx context.Context, on postgres.DBTX, name string, settings map[string]json.RawMessage) (plan.Plan, error) {
	databases := map[string]string{}
	names, err := stream.Names(ctx, on)
	if err != nil {
		return nil, err
	}
	for _, database := range names {
		there, err := stream.Get(ctx, on, database)
		if err != nil {
			return nil, err
		}
		if there.URL != "" {
			databases[database] = there.URL
		}
	}
	sink := map[string]any{"name": name}
	for field, value := range settings {
		sink[field] = value
	}
	sink["name"] = name
	made, err := ofFile(ctx, on, map[string]any{"databases": databases, "sinks": []any{sink}}, plan.Options{})
	return made.Of(name), err
}

// PlanCapture returns the plan that captures the tables of one database and leaves all other databases out. A
// mistake in c is a [document.Mistakes].
func PlanCapture(ctx context.Context, on postgres.DBTX, c stream.Config) (plan.Plan, error) {
	if c.Tables == nil {
		c.Tables = []string{}
	}
	capture := map[string]any{"tables": map[string]any{c.Name: c.Tables}, "repair": !c.NoRepair}
	if len(c.KeysOnly) > 0 {
		capture["rows"] = map[string]any{"keys": c.KeysOnly}
	}
	made, err := ofFile(ctx, on, map[string]any{"databases": map[string]string{c.Name: c.URL}, "capture": capture}, plan.Options{Remove: true})
	return made.OfCapture(), err
}

// ofFile parses settings as if they were a file. It writes them as JSON, which is also YAML.
func ofFile(ctx context.Context, on postgres.DBTX, content map[string]any, options plan.Options) (plan.Plan, error) {
	text, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("write a file: %w", err)
	}
	file, err := Parse("", text)
	if err != nil {
		return nil, err
	}
	return plan.Make(ctx, on, file.Wanted, options)
}

// Mistakes returns the mistakes of settings that did not come from a file, one sentence each; nil for any
// other error.
func Mistakes(err error) []string {
	mistakes, _ := errors.AsType[document.Mistakes](err)
	var texts []string
	for _, mistake := range mistakes {
		if !slices.Contains(texts, mistake.Text) {
			texts = append(texts, mistake.Text)
		}
	}
	return texts
}
