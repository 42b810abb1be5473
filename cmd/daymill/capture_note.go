package main

import (
	"context"
	"maps"
	"slices"

	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/plan"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/config"
	"github.com/daymill/daymill/internal/postgres"
)

// notePatterns prints a note, which begins with whose, for each pattern that matches no table, because it may be a typo. It reports whether
// there was one.
func (a *app) notePatterns(
	ctx context.Context, source *postgres.DB, whose, database string, patterns filter.Tables, all []table.Table,
) (noted bool) {
	for _, p := range patterns {
		if p.Excludes() || slices.ContainsFunc(all, func(t table.Table) bool { return p.Covers(t.Schema, t.Name) }) {
			continue
		}
		noted = true
		name := p.Schema()
		exists := true
		if name != "" {
			err := source.Read(ctx, func(on postgres.DBTX) error {
				return on.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)", name).Scan(&exists)
			})
			if err != nil {
				a.errorf("note: %s: %s\n", database, err)
				return noted
			}
		}
		if exists {
			a.errorf("note: %sno table of %s matches %s yet\n", whose, database, p)
			continue
		}
		meant := "public"
		if at := slices.IndexFunc(all, func(t table.Table) bool { return t.Name == name }); at >= 0 {
			meant = all[at].Schema
		}
		a.errorf("note: %sno table of %s matches %s yet: %s means the schema %s: write %s.%s for a table\n", whose, database, p, p, p, meant, p)
	}
	return noted
}

// noteSinks prints notes about the sinks of a file: tables that do not exist or are not captured, and columns that no table has. If it cannot
// find out, it prints nothing: noteCapture has said why.
func (a *app) noteSinks(ctx context.Context, db *postgres.DB, file *config.File) {
	byDatabase := map[string][]plan.Sink{}
	for _, s := range file.Sinks {
		byDatabase[s.Database] = append(byDatabase[s.Database], s)
	}
	for _, name := range slices.Sorted(maps.Keys(byDatabase)) {
		there, err := stream.Get(ctx, db, name)
		if err != nil {
			a.errorf("note: %s: %s\n", name, err)
			continue
		}
		if patterns, has := file.Tables[name]; has { // A dry run has not stored them.
			there.Tables = patterns
		}
		a.noteSinksOf(ctx, db, name, file.Databases[name], there.Tables, byDatabase[name])
	}
}

// noteSinksOf prints notes about the sinks of one database.
func (a *app) noteSinksOf(ctx context.Context, db *postgres.DB, database, url string, patterns []string, sinks []plan.Sink) {
	source, _, err := a.openSource(ctx, db, database, url)
	if err != nil {
		return
	}
	if source != db {
		defer source.Close()
	}
	all, err := table.Find(ctx, source, []string{"*"})
	if err != nil {
		return
	}
	captured, err := table.Find(ctx, source, patterns)
	if err != nil {
		return
	}
	for _, s := range sinks {
		meant, err := filter.ParseTables(s.Settings.Tables)
		if err != nil {
			continue
		}
		whose := "sink " + s.Name + ": "
		a.notePatterns(ctx, source, whose, database, meant, all)
		for _, p := range meant {
			covers := func(t table.Table) bool { return p.Covers(t.Schema, t.Name) }
			if !p.Excludes() && slices.ContainsFunc(all, covers) && !slices.ContainsFunc(captured, covers) {
				a.errorf("note: %s%s is not captured: add it to the captured tables\n", whose, p)
			}
		}
		a.noteColumns(whose, s.Settings.Config, slices.DeleteFunc(slices.Clone(captured), func(t table.Table) bool { return !meant.Match(t.Schema, t.Name) }))
	}
}

// noteColumns prints a note for each column that settings name and that none of a sink's tables has.
func (a *app) noteColumns(whose string, settings filter.Config, tables []table.Table) {
	if len(tables) == 0 {
		return
	}
	for _, named := range []struct {
		setting string
		columns []string
	}{
		{"columns", settings.Columns},
		{"without", settings.Without},
		{"rename", slices.Sorted(maps.Keys(settings.Rename))},
		{"condition", filter.Named(settings.Condition)},
	} {
		for _, column := range named.columns {
			if !slices.ContainsFunc(tables, func(t table.Table) bool {
				return slices.Contains(t.Names(), column) || slices.Contains(t.Generated, column)
			}) {
				a.errorf("note: %s%s names %s, and none of the sink's tables has this column\n", whose, named.setting, column)
			}
		}
	}
}
