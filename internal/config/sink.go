package config

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/plan"
	"github.com/daymill/daymill/internal/capture/sink/kind"
	"github.com/daymill/daymill/internal/document"
)

// sink reads one sink.
func (p *parser) sink(item *yaml.Node) plan.Sink {
	s := plan.Sink{Line: item.Line, Column: item.Column, Database: App, Shards: 1, From: plan.Now}
	at := map[string]*yaml.Node{} // the place of each setting
	set := &s.Settings
	text := func(to *string) func(*yaml.Node) { return func(value *yaml.Node) { *to, _ = p.Text(value) } }
	boolean := func(to *bool) func(*yaml.Node) {
		return func(value *yaml.Node) {
			if value.Kind != yaml.ScalarNode || value.Tag != "!!bool" || value.Decode(to) != nil {
				p.Wrongf(value, "write true or false")
			}
		}
	}
	texts := func(to *[]string) func(*yaml.Node) { return func(value *yaml.Node) { *to = p.Texts(value, nil) } }
	known := document.Fields{
		"name": func(value *yaml.Node) { s.Name = p.name(value, "sink") },
		"kind": text(&s.Kind), "database": text(&s.Database),
		"from": func(value *yaml.Node) {
			s.From, _ = p.Text(value)
			if err := plan.CheckFrom(s.From); err != nil {
				p.Wrongf(value, "%s", err)
			}
		},
		"shards": func(value *yaml.Node) {
			if value.Kind != yaml.ScalarNode || value.Decode(&s.Shards) != nil || s.Shards < 1 || s.Shards > 64 {
				p.Wrongf(value, "shards must be a number from 1 to 64")
			}
		},
		"url": text(&set.URL), "secret": text(&set.Secret),
		"tables": texts(&set.Tables), "columns": texts(&set.Columns), "without": texts(&set.Without), "condition": text(&set.Condition),
		"ops": func(value *yaml.Node) {
			for _, op := range p.Texts(value, nil) {
				set.Ops = append(set.Ops, change.Op(op))
			}
		},
		"rename": func(value *yaml.Node) {
			set.Rename = p.Mapping(value, "rename must be a mapping: rename: {user_id: customer}")
		},
		"batch": boolean(&set.Batch), "allow_private": boolean(&set.AllowPrivate),
		"delete": texts(&set.Delete), "set": text(&set.Set), "hash": text(&set.Hash), "stream": text(&set.Stream),
		"max_len": func(value *yaml.Node) {
			if value.Kind != yaml.ScalarNode || value.Decode(&set.MaxLen) != nil {
				p.Wrongf(value, "max_len must be a number of entries")
			}
		},
		"index": text(&set.Index), "topic": text(&set.Topic), "create_topics": boolean(&set.CreateTopics),
		"subject": text(&set.Subject), "schema": text(&set.Schema), "on_schema_change": text(&set.OnSchemaChange),
	}
	all := document.Fields{}
	for field, read := range known {
		all[field] = func(value *yaml.Node) { at[field] = value; read(value) }
	}
	if !p.Object(item, "a sink", all) {
		return s
	}
	for _, needed := range []string{"name", "kind", "url"} {
		if at[needed] == nil && (needed != "url" || s.Kind != kind.Poll) {
			p.Wrongf(item, "the sink has no %s: it needs name, kind and url", needed)
		}
	}
	if at["kind"] == nil {
		return s
	}
	p.kinds(s, at)
	for _, problem := range kind.Check(s.Kind, s.Settings) {
		if where := at[problem.Field]; where != nil {
			p.Wrongf(where, "%s", problem.Err)
		}
	}
	return s
}

// common returns the settings that sinks of all kinds have. Consumers of kind poll have fewer.
func common(of string) []string {
	if of == kind.Poll {
		return []string{"name", "kind", "database", "from", "tables", "ops"}
	}
	return []string{
		"name", "kind", "url", "database", "from", "shards", "tables", "ops", "columns", "without", "condition", "rename", "on_schema_change",
	}
}

// kinds reports settings that belong to another kind.
func (p *parser) kinds(s plan.Sink, at map[string]*yaml.Node) {
	if !slices.Contains(kind.Names(), s.Kind) {
		return // That mistake was already reported.
	}
	mine := append(common(s.Kind), kind.Fields(s.Kind)...)
	for _, field := range slices.Sorted(maps.Keys(at)) {
		if slices.Contains(mine, field) {
			continue
		}
		var others []string
		for _, other := range kind.Names() {
			if slices.Contains(kind.Fields(other), field) {
				others = append(others, other)
			}
		}
		if len(others) == 0 {
			p.Wrongf(at[field], "a consumer of kind %s has no %s: it has %s", s.Kind, field, strings.Join(mine, ", "))
			continue
		}
		p.Wrongf(at[field], "a sink of kind %s has no %s, which is for %s: it has %s", s.Kind, field, strings.Join(others, " and "),
			strings.Join(kind.Fields(s.Kind), ", "))
	}
}
