package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
)

// defaultZone is the zone that most frameworks use for a timestamp without time zone.
const defaultZone = "UTC"

// view is the query of analytics.events for a table.
type view struct {
	table              relation
	entity, kind, time db.SourceColumnsRow
	query              string
}

// view assembles the query. The names in s are exact.
func (s Source) view(ctx context.Context, tx pgx.Tx, installed entity.Type) (view, error) {
	table, err := lookup(ctx, tx, s.Schema, s.Table)
	if err != nil {
		return view{}, err
	}
	v := view{table: table}
	for _, column := range table.columns {
		if column.Name == s.Entity {
			v.entity = column
		}
		if column.Name == s.Type {
			v.kind = column
		}
		if column.Name == s.Time {
			v.time = column
		}
	}
	return v, v.write(ctx, tx, s, installed)
}

// write assembles the query's text. Postgres quotes all literals and identifiers.
func (v *view) write(ctx context.Context, tx pgx.Tx, source Source, installed entity.Type) error {
	names := slices.Sorted(maps.Keys(source.Map))
	values := append(make([]string, 0, 1+2*len(names)), source.TimeZone)
	for _, name := range names {
		values = append(values, name, source.Map[name])
	}
	literals, err := db.New(tx).SourceLiterals(ctx, values)
	if err != nil {
		return fmt.Errorf("quote the values of --map: %w", err)
	}
	entityID, err := entityExpression(v.entity, installed)
	if err != nil {
		return err
	}
	eventType, err := typeExpression(v.kind)
	if err != nil {
		return err
	}
	createdAt, err := timeExpression(v.time, literals[0])
	if err != nil {
		return err
	}
	if len(names) > 0 {
		var mapped strings.Builder
		mapped.WriteString("CASE " + eventType)
		for pair := range slices.Chunk(literals[1:], 2) {
			mapped.WriteString(" WHEN " + pair[0] + " THEN " + pair[1])
		}
		eventType = mapped.String() + " ELSE " + eventType + " END"
	}
	v.query = "SELECT " + entityID + " AS entity_id, " + eventType + " AS event_type, " + createdAt + " AS created_at" +
		" FROM " + v.table.Quoted
	if source.Where == "" {
		return nil
	}
	err = asWritten(ctx, tx, func() error { return v.testCondition(ctx, tx, source.Where) })
	if err != nil {
		return err
	}
	v.query += " WHERE (\n" + source.Where + "\n)"
	return nil
}

// testCondition refuses a text that is not a single expression. Postgres parses the text in two places where only an expression is
// allowed, within parentheses and within brackets. So it refuses a text such as "a) OR (b".
func (v *view) testCondition(ctx context.Context, tx pgx.Tx, condition string) error {
	for _, place := range []struct{ before, after string }{
		{"SELECT ARRAY[\n", "\n] FROM " + v.table.Quoted},
		{"SELECT FROM " + v.table.Quoted + " WHERE (\n", "\n)"},
	} {
		described, err := tx.Prepare(ctx, "", place.before+condition+place.after)
		var server *pgconn.PgError
		switch {
		case errors.As(err, &server) && server.Code == pgerrcode.SyntaxError && int(server.Position) > utf8.RuneCountInString(place.before+condition):
			return refusef("--where is not a condition on the rows of %s: syntax error at its end", v.table.Quoted)
		case errors.As(err, &server):
			return refusef("--where is not a condition on the rows of %s: %s", v.table.Quoted,
				strings.Join(strings.Fields(server.Message), " "))
		case err != nil:
			return fmt.Errorf("try the condition: %w", err)
		case len(described.ParamOIDs) > 0:
			return refusef("--where has a parameter such as $1: write the value itself")
		}
	}
	return nil
}

// asWritten runs do with pg_catalog and the role's default search_path, because a condition may call functions of the application
// without a schema.
func asWritten(ctx context.Context, tx pgx.Tx, do func() error) error {
	_, err := tx.Exec(ctx, `SELECT set_config('search_path', 'pg_catalog' || coalesce(', ' || nullif(s.reset_val, ''), ''), true)
		FROM pg_catalog.pg_settings AS s WHERE s.name = 'search_path'`)
	if err != nil {
		return fmt.Errorf("make settings: %w", err)
	}
	if err := do(); err != nil {
		return err // The transaction, or the savepoint, is over.
	}
	return postgres.SetLocal(ctx, tx, postgres.Local{"search_path": postgres.SearchPath})
}

// zone returns the zone of a column, or an empty text if the column needs none.
func zone(ctx context.Context, tx pgx.Tx, column db.SourceColumnsRow, name string) (string, error) {
	if column.BaseID != pgtype.TimestampOID {
		if name != "" {
			return "", refusef("--time-zone is for a timestamp without time zone, and %s is %s: leave the option out",
				column.Quoted, column.Type)
		}
		return "", nil
	}
	if name == "" {
		return defaultZone, nil
	}
	spelled, err := db.New(tx).TimeZoneName(ctx, name)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", refusef("there is no time zone %q: give an IANA name such as UTC or Europe/London", name)
	}
	if err != nil {
		return "", fmt.Errorf("look up the time zone: %w", err)
	}
	return spelled, nil
}
