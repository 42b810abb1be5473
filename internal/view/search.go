package view

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view/plan"
)

// searchTimeout bounds a search.
const searchTimeout = 5 * time.Second

// Searchable returns the names of the columns with which the view's table can be searched, if it serves.
func Searchable(versions []Version) []string {
	var names []string
	for _, v := range versions {
		if v.State == Serving {
			for _, s := range v.Plan.Definition.Search {
				names = append(names, s.Name)
			}
		}
	}
	return names
}

// Search returns the rows of a view that match words best, by its first tsvector. Words are those of a web search: "a phrase", or, -not.
func (e *Engine) Search(ctx context.Context, name, words string, most int) (Sample, error) {
	v, err := Get(ctx, e.DB, name)
	if err != nil {
		return Sample{}, err
	}
	versions, err := Versions(ctx, e.DB, v.ID)
	if err != nil {
		return Sample{}, err
	}
	if len(Searchable(versions)) == 0 {
		return Sample{}, refusef("view %s cannot be searched: add search: {columns: […]} to its definition", name)
	}
	p := versions[0].Plan
	for _, version := range versions {
		if version.State == Serving {
			p = version.Plan
		}
	}
	by := p.Definition.Search[0]
	var columns []string
	for _, o := range visible(p) {
		columns = append(columns, "v."+pgx.Identifier{o.Name}.Sanitize())
	}
	column := "v." + pgx.Identifier{by.Name}.Sanitize()
	sql := "SELECT " + strings.Join(columns, ", ") + " FROM " + plan.Table(name) + " AS v, pg_catalog.websearch_to_tsquery(($2::text)::regconfig, $1::text) AS q WHERE " +
		column + " @@ q ORDER BY pg_catalog.ts_rank(" + column + fmt.Sprintf(", q) DESC LIMIT %d", most)
	found, err := e.texts(ctx, searchTimeout, sql, words, "pg_catalog."+by.Language)
	if postgres.IsTimeout(err) {
		return Sample{}, refusef("the search took too long: search for rarer words")
	}
	return found, err
}

// texts runs a query and returns its rows in Postgres's text form.
func (e *Engine) texts(ctx context.Context, within time.Duration, sql string, arguments ...any) (found Sample, err error) {
	err = e.DB.ReadTx(ctx, func(tx pgx.Tx) error {
		found = Sample{SQL: sql}
		if err := limit(ctx, tx, within); err != nil {
			return err
		}
		// With the simple protocol, Postgres answers with texts.
		rows, err := tx.Query(ctx, sql, append([]any{pgx.QueryExecModeSimpleProtocol}, arguments...)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var row []string
			for _, value := range rows.RawValues() {
				row = append(row, string(value))
			}
			found.Rows = append(found.Rows, row)
		}
		for _, field := range rows.FieldDescriptions() {
			found.Columns = append(found.Columns, field.Name)
		}
		return rows.Err()
	})
	return found, err
}
