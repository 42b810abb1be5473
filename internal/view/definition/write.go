package definition

import (
	"fmt"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v4"
)

// YAML returns a definition in Daymill's own form. Parse reads it as the same definition.
func YAML(d Definition) (string, error) {
	view := mapping(
		"name", text(d.Name), "where", optional(d.Where), "drift", optional(d.Drift), "indexes", indexes(d.Indexes), "search", searches(d.Search),
		"schedule", scheduled(d.Schedule), "tables", tables(d),
	)
	written, err := yaml.Marshal(view)
	if err != nil {
		return "", fmt.Errorf("write view %s: %w", d.Name, err)
	}
	return string(written), nil
}

// mapping returns a node of names and values. It leaves out nil values.
func mapping(pairs ...any) *yaml.Node {
	node := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i+1 < len(pairs); i += 2 {
		if value, _ := pairs[i+1].(*yaml.Node); value != nil {
			name, _ := pairs[i].(string)
			node.Content = append(node.Content, text(name), value)
		}
	}
	return node
}

func text(value string) *yaml.Node {
	node := new(yaml.Node)
	node.SetString(value)
	return node
}

func optional(value string) *yaml.Node {
	if value == "" {
		return nil
	}
	return text(value)
}

// flag returns a node for a value that is not the default, and otherwise nil.
func flag(is, value bool) *yaml.Node {
	if !is {
		return nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(value)}
}

func list(values []string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, value := range values {
		node.Content = append(node.Content, text(value))
	}
	return node
}

func indexes(all [][]string) *yaml.Node {
	if len(all) == 0 {
		return nil
	}
	node := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, columns := range all {
		node.Content = append(node.Content, list(columns))
	}
	return node
}

func searches(all []Search) *yaml.Node {
	if len(all) == 0 {
		return nil
	}
	node := &yaml.Node{Kind: yaml.SequenceNode}
	for _, s := range all {
		one := mapping("name", text(s.Name), "columns", list(s.Columns), "language", optional(s.Language))
		one.Style = yaml.FlowStyle
		node.Content = append(node.Content, one)
	}
	return node
}

func tables(d Definition) *yaml.Node {
	node := &yaml.Node{Kind: yaml.SequenceNode}
	for _, t := range d.Tables {
		var join, to *yaml.Node
		left := false
		if t.Join != nil {
			join = &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
			for _, pair := range t.Join.On {
				join.Content = append(join.Content, text(pair.First), text(pair.Second))
			}
			to, left = text(d.Tables[t.Join.To].Alias()), t.Join.Left
		}
		columns := &yaml.Node{Kind: yaml.SequenceNode}
		for _, c := range t.Columns {
			columns.Content = append(columns.Content, column(c))
		}
		node.Content = append(node.Content, mapping(
			"database", text(t.Database), "schema", text(t.Schema), "table", text(t.Name), "as", optional(t.As), "changed", optional(t.Changed),
			"to", to, "join", join, "left", flag(left, true), "columns", columns,
		))
	}
	return node
}

func column(c Column) *yaml.Node {
	var values, otherwise, fields *yaml.Node
	keep := false
	if c.Mapping != nil {
		values = &yaml.Node{Kind: yaml.MappingNode}
		for _, v := range c.Mapping.Values {
			values.Content = append(values.Content, text(v.From), text(v.To))
		}
		if keep = c.Mapping.Keep; c.Mapping.Else != nil {
			otherwise = text(*c.Mapping.Else)
		}
	}
	if len(c.Fields) > 0 {
		fields = &yaml.Node{Kind: yaml.MappingNode}
		for _, f := range c.Fields {
			onError := ""
			if f.Strict {
				onError = "error"
			}
			fields.Content = append(fields.Content, text(f.As), mapping("path", list(f.Path), "type", optional(f.Type), "on_error", optional(onError)))
		}
	}
	node := mapping(
		"column", optional(c.Name), "expression", optional(c.Expression), "as", optional(c.As), "type", optional(c.Type), "key", flag(c.Key, true),
		"hidden", flag(c.Hidden, true), "deleted", flag(c.Deleted, true), "nullable", flag(c.NotNull, false), "map", values, "else", otherwise,
		"keep", flag(keep, true), "json", fields,
	)
	node.Style = yaml.FlowStyle
	if len(node.Content) == 2 && node.Content[0].Value == "column" && !slices.Contains([]string{"", "~", "null"}, c.Name) {
		return text(c.Name)
	}
	return node
}
