// Package source manages where events come from: the view analytics.events, and the application's own table behind it.
//
// Runs read only the view. [Set] creates it for the usual case of one table, [Create] creates a table for an application that has
// none yet, and [Adopt] adopts public.raw_events automatically. If you need a join, a union or an expression, write the view by
// hand. [Check] checks the view, however it was created.
//
// Columns keep their native types. The cast to the domain analytics.entity_id costs nothing, because Postgres ignores a domain
// without constraints when it plans. So it compares a uuid as a uuid, and can use an index on it.
package source

import (
	"cmp"
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

// Errors that callers distinguish.
var (
	// ErrNone says that analytics.events reads nothing yet.
	ErrNone = errors.New("no source is set: run `daymill source set --table … --entity … --type … --time …`, " +
		"or `daymill source create` for a new table")
	// ErrRefused says that the options or the table are wrong. Nothing was changed.
	ErrRefused = errors.New("refused")
	// ErrHandWritten says that analytics.events differs from what Set creates, so its table is unknown.
	ErrHandWritten = errors.New("analytics.events was written by hand, or changed after `daymill source set` created it")
	// ErrSwapped says that the name of the source, or of one of its columns, means another one than analytics.events reads. Its text
	// is the end of a sentence that names both.
	ErrSwapped = errors.New("run `daymill source set` for the table that has the events, or replace a view that you wrote yourself")
)

func refusef(format string, arguments ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, arguments...))
}

// Source describes what analytics.events reads. If the view was written by hand, only Reads and Definition are set.
type Source struct {
	HandWritten bool `json:"hand_written"`

	// Schema and Table name the table exactly, without quotes, and so do the columns.
	Schema string `json:"table_schema,omitempty"`
	Table  string `json:"table_name,omitempty"`
	Entity string `json:"entity_column,omitempty"`
	Type   string `json:"type_column,omitempty"`
	Time   string `json:"time_column,omitempty"`
	// TimeZone is the zone of a timestamp without time zone; empty if the column is a timestamptz.
	TimeZone string `json:"time_column_zone,omitempty"`
	// Map renames event types: its keys are the table's names, its values Daymill's. Other types keep their names.
	Map map[string]string `json:"type_map,omitempty"`
	// Where is a condition in SQL that rows must meet to be events; empty if there is none.
	Where string     `json:"where,omitempty"`
	SetAt *time.Time `json:"set_at,omitempty"`

	// Reads lists the relations behind the view, including those behind other views, quoted for SQL.
	Reads []string `json:"reads"`
	// Definition is the view's query as Postgres writes it.
	Definition string `json:"definition"`
	// Watched lists the tables whose triggers request the dates of late events, whatever the view reads.
	Watched []Watched `json:"watched,omitempty"`

	// Swapped is the current name of the table that the view reads, if the recorded name now means a different table. New events go
	// to that table and are not counted. Empty if nothing is wrong.
	Swapped string `json:"swapped,omitempty"`
	// Renamed is a sentence about columns, or about tables behind the view, that were renamed and whose names now mean different ones. Empty
	// if nothing is wrong.
	Renamed string `json:"renamed,omitempty"`

	recorded string // the definition when it was set
	tableID  int64  // the oid of the table
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
		return false, fmt.Errorf("read analytics.events: %w", err)
	}
	return exists, nil
}

// Ready returns nil if what analytics.events reads is the source. Otherwise it returns ErrNone, or ErrSwapped with both tables'
// names: what is counted then lacks events.
func Ready(ctx context.Context, conn *postgres.DB) error {
	return conn.Tx(ctx, func(tx pgx.Tx) error {
		exists, err := existsIn(ctx, tx)
		if err != nil {
			return err
		}
		if !exists {
			return ErrNone
		}
		return checkSwapped(ctx, tx)
	})
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
	if swapped == "" {
		renamed, err := swappedReads(ctx, tx)
		if err != nil {
			return Source{}, err
		}
		if source.HandWritten {
			columns, err := source.swappedColumns(ctx, tx)
			if err != nil {
				return Source{}, err
			}
			source, renamed = Source{HandWritten: true}, cmp.Or(columns, renamed)
		}
		source.Renamed = renamed
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

// recorded returns the record of how the view was created, or the zero value if there is none.
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

// differs reports whether a definition differs from what Set would create today. Comparing with the recorded text is not enough,
// because a newer Postgres may print the same view differently (16 stopped qualifying the columns of a single table). So differs
// creates the view under another name, compares, and rolls back.
func (s Source) differs(ctx context.Context, tx pgx.Tx, current string) (bool, error) {
	if s.Table == "" {
		return true, nil
	}
	same := false
	err := inSavepoint(ctx, tx, func(tx pgx.Tx) error {
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
	// If the server cannot create the view today, the definition differs. Any other error is returned.
	if err != nil && postgres.Code(err) == "" && !errors.Is(err, ErrRefused) {
		return false, err
	}
	return !same, nil
}

// inSavepoint runs do in a savepoint and then undoes everything that do did.
func inSavepoint(ctx context.Context, tx pgx.Tx, do func(tx pgx.Tx) error) error {
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

// execute runs a statement that was assembled from parts. It uses the extended protocol, which refuses a second statement.
func execute(ctx context.Context, tx pgx.Tx, statement string) error {
	_, err := tx.Conn().PgConn().ExecParams(ctx, statement, nil, nil, nil, nil).Close()
	return err
}

// definition returns a view's query as Postgres prints it, with all names qualified. It returns an empty text if there is no such
// view.
func definition(ctx context.Context, tx pgx.Tx, name string) (string, error) {
	var text string
	err := inSavepoint(ctx, tx, func(tx pgx.Tx) (err error) {
		if err = postgres.SetLocal(ctx, tx, postgres.Local{"search_path": "pg_catalog"}); err != nil {
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
