// Package config reads daymill.yaml: databases, captured tables, the sinks that receive changes, views, and alerts. It reports all mistakes at
// once, each with its file, line and column, and says how to fix them. [Schema] is a schema for editors. It knows the capabilities
// whose settings the file has, and they do not know it.
package config

import (
	_ "embed"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/daymill/daymill/internal/alert"
	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/plan"
	"github.com/daymill/daymill/internal/capture/sink/kind"
	"github.com/daymill/daymill/internal/document"
	"github.com/daymill/daymill/internal/view/definition"
)

// MaxFile is the largest size of a file, in bytes.
const MaxFile = 1 << 20

// App is the name of the database of DATABASE_URL, which always exists.
const App = "app"

// Schema is the JSON Schema of the file.
//
//go:embed schema.json
var Schema string

// File is the content of a file.
type File struct {
	plan.Wanted

	Views []definition.Definition
	// Alerts says who is told what is wrong; nil if the file does not say.
	Alerts *alert.Wanted
}

// Parse reads a file. An error is of type document.Mistakes.
func Parse(name string, content []byte) (*File, error) {
	p := &parser{Parser: document.Parser{File: name}}
	file := &File{Wanted: plan.Wanted{Databases: map[string]string{App: "$DATABASE_URL"}}}
	if len(content) > MaxFile {
		p.Wrongf(&yaml.Node{}, "the file is larger than %d bytes", MaxFile)
	} else if root := p.YAML(content); root != nil {
		p.read(root, file)
	} else if p.Err() == nil {
		p.Wrongf(&yaml.Node{}, "the file is empty: begin with sinks:, as docs/capture.md shows")
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return file, nil
}

type parser struct {
	document.Parser

	named map[string]*yaml.Node // the places where capture.tables names a database
}

func (p *parser) read(root *yaml.Node, file *File) {
	p.Object(root, "the file", document.Fields{
		"databases": func(value *yaml.Node) { p.databases(value, file) },
		"capture": func(value *yaml.Node) {
			p.Object(value, "capture", document.Fields{
				"tables": func(value *yaml.Node) { p.tables(value, file) },
				"rows":   func(value *yaml.Node) { file.KeysOnly = p.rows(value) },
				"repair": func(value *yaml.Node) {
					repair := true
					if value.Kind != yaml.ScalarNode || value.Tag != "!!bool" || value.Decode(&repair) != nil {
						p.Wrongf(value, "write true or false")
					}
					file.NoRepair = !repair
				},
			})
		},
		"sinks": func(value *yaml.Node) {
			for _, item := range p.List(value, "sinks") {
				file.Sinks = append(file.Sinks, p.sink(item))
			}
		},
		"alerts": func(value *yaml.Node) { file.Alerts = p.alerts(value) },
		"views":  func(value *yaml.Node) { file.Views = definition.List(&p.Parser, value) },
	})
	p.captured(file)
	seen := map[string]bool{}
	for _, s := range file.Sinks {
		at := &yaml.Node{Line: s.Line, Column: s.Column}
		if s.Name != "" && seen[s.Name] {
			p.Wrongf(at, "there is another sink %q: give each a different name", s.Name)
		}
		seen[s.Name] = true
		if _, has := file.Databases[s.Database]; !has {
			p.Wrongf(at, "sink %q names database %q, which is not listed under databases", s.Name, s.Database)
		}
	}
}

var name = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

func (p *parser) name(at *yaml.Node, what string) string {
	text, ok := p.Text(at)
	if ok && !name.MatchString(text) {
		p.Wrongf(at, "%q cannot be the name of a %s: use small letters, digits, - and _, 63 at most, and a letter first", text, what)
	}
	return text
}

func (p *parser) databases(value *yaml.Node, file *File) {
	if value.Kind != yaml.MappingNode {
		p.Wrongf(value, "databases must be a mapping: databases: {crm: $CRM_URL}")
		return
	}
	for i := 0; i+1 < len(value.Content); i += 2 {
		key := p.name(value.Content[i], "database")
		if text, ok := p.Text(value.Content[i+1]); ok {
			if _, is := kind.Variable(text); !is { // Do not quote the text: it may contain a password.
				p.Wrongf(value.Content[i+1], "write the name of an environment variable, such as $%s_URL: settings are stored, so they must not contain secrets",
					strings.ToUpper(strings.ReplaceAll(key, "-", "_")))
			}
			file.Databases[key] = text
		}
	}
}

// patterns reads patterns of tables.
func (p *parser) patterns(value *yaml.Node) []string {
	return p.Texts(value, func(at *yaml.Node, text string) {
		if _, err := filter.ParsePattern(text); err != nil {
			p.Wrongf(at, "%s", err)
		}
	})
}

// tables reads the captured tables: patterns of the application's database, or patterns by database.
func (p *parser) tables(value *yaml.Node, file *File) {
	if value.Kind != yaml.MappingNode {
		file.Tables = map[string][]string{App: p.patterns(value)}
		return
	}
	file.Tables, p.named = map[string][]string{}, map[string]*yaml.Node{}
	for i := 0; i+1 < len(value.Content); i += 2 {
		if name := p.name(value.Content[i], "database"); name != "" {
			file.Tables[name], p.named[name] = p.patterns(value.Content[i+1]), value.Content[i]
		}
	}
}

// rows reads what triggers write: whole rows, or only the keys of all tables or of some.
func (p *parser) rows(value *yaml.Node) (keysOnly []string) {
	if value.Kind == yaml.MappingNode {
		p.Object(value, "rows", document.Fields{"keys": func(value *yaml.Node) { keysOnly = p.patterns(value) }})
		return keysOnly
	}
	switch text, ok := p.Text(value); {
	case ok && text == "keys":
		return []string{"*"}
	case ok && text != "full":
		p.Wrongf(value, "write rows: full, rows: keys, or rows: {keys: [public.hot]}")
	}
	return nil
}

// captured checks that the databases under capture.tables are defined.
func (p *parser) captured(file *File) {
	for name, at := range p.named {
		if _, has := file.Databases[name]; !has {
			p.Wrongf(at, "capture.tables names database %q, which is not listed under databases", name)
		}
	}
}
