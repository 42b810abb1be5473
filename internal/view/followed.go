package view

import (
	"context"
	"errors"
	"strings"

	"github.com/daymill/daymill/internal/view/plan"
)

// followed returns which renamed tables and columns a view has followed.
func (e *Engine) followed(ctx context.Context, name string) (f plan.Followed, err error) {
	v, err := Get(ctx, e.DB, name)
	if errors.Is(err, ErrNone) {
		return f, nil
	}
	if err != nil {
		return f, err
	}
	versions, err := Versions(ctx, e.DB, v.ID)
	if err != nil || len(versions) == 0 {
		return f, err
	}
	entries, err := Drifts(ctx, e.DB, v.ID, maxList)
	if err != nil {
		return f, err
	}
	last := versions[len(versions)-1].Plan
	f.Table = func(database, schema, table string) string {
		for i, s := range last.Sources {
			if last.Definition.Tables[i].Database == database && s.Named(schema, table) {
				return s.Schema + "." + s.Name
			}
		}
		return ""
	}
	f.Column = func(source plan.Source, column string) string {
		for _, entry := range entries { // The sentence has the name from before.
			follows := entry.Kind == renamed && (entry.State == Followed || entry.State == Accepted) && entry.Table < len(last.Sources)
			if !follows || !strings.HasPrefix(entry.Sentence, "column "+column+" of ") {
				continue
			}
			if s := last.Sources[entry.Table]; s.OID == source.OID && s.Stream == source.Stream {
				for _, c := range s.Columns {
					if c.Number == entry.Number {
						return c.Name
					}
				}
			}
		}
		return ""
	}
	return f, nil
}
