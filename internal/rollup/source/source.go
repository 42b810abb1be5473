// Package source is where events come from: the view analytics.events, and the application's own table behind it.
//
// The view is the contract. [Set] makes it for the ordinary case of one table, [Create] makes a table for an
// application that has none yet, [Adopt] takes public.raw_events up by itself, and whoever needs a join, a union or an
// expression writes the view by hand. [Check] treats all of them alike: it looks at the view, not at how it was made.
//
// Columns keep their native types. The cast to the domain analytics.entity_id costs nothing, since Postgres sees
// through a domain without constraints, so a uuid is compared as a uuid and an index on it serves.
package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
)

// Errors that callers tell apart.
var (
	// ErrNone says that analytics.events still reads nothing.
	ErrNone = errors.New("no source is set: run `daymill source set --table … --entity … --type … --time …`, " +
		"or `daymill source create` for a new table")
	// ErrRefused says that the options or the table do not make a source. Nothing was changed.
	ErrRefused = errors.New("refused")
	// ErrHandWritten says that analytics.events is not, or no longer, as Set made it, so its table is not known.
	ErrHandWritten = errors.New("analytics.events is written by hand, or was changed since `daymill source set` made it")
)

func refusef(format string, arguments ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, arguments...))
}

// Source is what analytics.events reads. Where it is written by hand, only Reads and Definition are known.
type Source struct {
	HandWritten bool `json:"hand_written"`

	// Schema and Table name the table exactly, without quotes, and so do the columns.
	Schema string `json:"table_schema,omitempty"`
	Table  string `json:"table_name,omitempty"`
	Entity string `json:"entity_column,omitempty"`
	Type   string `json:"type_column,omitempty"`
	Time   string `json:"time_column,omitempty"`
	// TimeZone is the zone of a timestamp without time zone; empty where the column is a timestamptz.
	TimeZone string `json:"time_column_zone,omitempty"`
	// Map says what the table calls an event type, and what Daymill shall call it. Types not in it keep their names.
	Map map[string]string `json:"type_map,omitempty"`
	// Where is a condition in SQL that rows have to meet; empty where all do.
	Where string     `json:"where,omitempty"`
	SetAt *time.Time `json:"set_at,omitempty"`

	// Reads are the relations behind the view, those behind other views included, quoted as SQL needs it.
	Reads []string `json:"reads"`
	// Definition is the view's query as Postgres writes it.
	Definition string `json:"definition"`
	// Watched are the tables whose triggers ask for the dates of late events, whatever the view reads.
	Watched []Watched `json:"watched,omitempty"`

	// Swapped is what the table is called today that the view reads, where the recorded name has come to mean another one:
	// new events go to that, and are not counted. Empty where all is well.
	Swapped string `json:"swapped,omitempty"`

	recorded string // the definition when it was set
	tableID  int64  // the number of the table
}

// Exists reports whether analytics.events reads anything.
func Exists(ctx context.Context, conn *postgres.DB) (bool, error) {
	var exists bool
	err := conn.Tx(ctx, func(tx pgx.Tx) (err error) {
		exists, err = existsIn(ctx, tx)
		return err
	})
	return exists, err
}

func existsIn(ctx context.Context, tx pgx.Tx) (bool, error) {
	exists, err := db.New(tx).SourceExists(ctx)
	if err != nil {
		return false, fmt.Errorf("look at analytics.events: %w", err)
	}
	return exists, nil
}

// Show returns the source, or ErrNone.
func Show(ctx context.Context, conn *postgres.DB) (Source, error) {
	var source Source
	err := conn.Tx(ctx, func(tx pgx.Tx) (err error) {
		source, err = show(ctx, tx)
		return err
	})
	return source, err
}

func show(ctx context.Context, tx pgx.Tx) (Source, error) {
	exists, err := existsIn(ctx, tx)
	if err != nil {
		return Source{}, err
	}
	if !exists {
		return Source{}, ErrNone
	}
	source, err := recorded(ctx, tx)
	if err != nil {
		return Source{}, err
	}
	definition, err := definition(ctx, tx, viewName)
	if err != nil {
		return Source{}, err
	}
	if definition != source.recorded {
		source.HandWritten, err = source.differs(ctx, tx, definition)
		if err != nil {
			return Source{}, err
		}
	}
	swapped, err := db.New(tx).SourceSwapped(ctx)
	if err != nil {
		return Source{}, fmt.Errorf("compare the source with the view: %w", err)
	}
	if source.HandWritten && swapped == "" {
		source = Source{HandWritten: true}
	}
	source.Definition, source.Swapped = definition, swapped

	reads, err := db.New(tx).SourceReads(ctx)
	if err != nil {
		return Source{}, fmt.Errorf("look behind analytics.events: %w", err)
	}
	source.Reads = []string{}
	for _, read := range reads {
		if n := len(source.Reads); n == 0 || source.Reads[n-1] != read.Quoted {
			source.Reads = append(source.Reads, read.Quoted)
		}
	}
	source.Watched, err = watches(ctx, tx)
	return source, err
}

// recorded reads how the view was made; a zero Source where it is not recorded.
func recorded(ctx context.Context, tx pgx.Tx) (Source, error) {
	row, err := db.New(tx).SourceGet(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return Source{}, nil
	}
	if err != nil {
		return Source{}, fmt.Errorf("read the source: %w", err)
	}
	source := Source{
		Schema: row.TableSchema, Table: row.TableName,
		Entity: row.EntityColumn, Type: row.TypeColumn, Time: row.TimeColumn,
		SetAt: &row.SetAt, recorded: row.ViewDefinition, tableID: row.TableID,
	}
	if row.TimeColumnZone != nil {
		source.TimeZone = *row.TimeColumnZone
	}
	if row.Condition != nil {
		source.Where = *row.Condition
	}
	if err := json.Unmarshal(row.TypeMap, &source.Map); err != nil {
		return Source{}, fmt.Errorf("read the source's map: %w", err)
	}
	return source, nil
}

// differs reports whether a definition is another than Set would make today. The text recorded at the time does not
// settle it: a newer Postgres writes the same view in other words (16 stopped qualifying the columns of a single
// table), so the view is created again under another name, and rolled back.
func (s Source) differs(ctx context.Context, tx pgx.Tx, current string) (bool, error) {
	if s.Table == "" {
		return true, nil
	}
	same := false
	err := attempt(ctx, tx, func(tx pgx.Tx) error {
		installation, err := db.New(tx).InstallationGet(ctx)
		if err != nil {
			return err
		}
		v, err := s.view(ctx, tx, entity.Type(installation.EntityType))
		if err != nil {
			return err
		}
		err = asWritten(ctx, tx, func() error { return execute(ctx, tx, "CREATE TEMPORARY VIEW daymill_source AS "+v.query) })
		if err != nil {
			return err
		}
		again, err := definition(ctx, tx, "pg_temp.daymill_source")
		same = again == current
		return err
	})
	// A view that cannot be made today is another one, whatever the server's reason; other errors are errors.
	if err != nil && postgres.Code(err) == "" && !errors.Is(err, ErrRefused) {
		return false, err
	}
	return !same, nil
}

// attempt runs do in a savepoint and takes back whatever it did.
func attempt(ctx context.Context, tx pgx.Tx, do func(tx pgx.Tx) error) error {
	nested, err := tx.Begin(ctx)
	if err != nil {
		return fmt.Errorf("set a savepoint: %w", err)
	}
	err = do(nested)
	if rollback := nested.Rollback(ctx); rollback != nil && err == nil {
		err = fmt.Errorf("go back to a savepoint: %w", rollback)
	}
	return err
}

// execute runs one statement that was put together from parts: the extended protocol takes no second one.
func execute(ctx context.Context, tx pgx.Tx, statement string) error {
	_, err := tx.Conn().PgConn().ExecParams(ctx, statement, nil, nil, nil, nil).Close()
	return err
}

// definition returns a view's query as Postgres writes it, with every name qualified whatever the search path; empty
// where there is no such view.
func definition(ctx context.Context, tx pgx.Tx, name string) (string, error) {
	var text string
	err := attempt(ctx, tx, func(tx pgx.Tx) (err error) {
		if _, err = tx.Exec(ctx, "SET LOCAL search_path = pg_catalog"); err != nil {
			return err
		}
		text, err = db.New(tx).SourceDefinition(ctx, name)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the view's definition: %w", err)
	}
	return text, nil
}

const viewName = "analytics.events"
