package kind

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/version"
	database "github.com/daymill/daymill/internal/postgres"
)

// Values of Settings.OnSchemaChange.
const (
	OnChangeContinue = "continue"
	OnChangePause    = "pause"
)

// pauses reports whether a sink of a kind is paused before a change of columns that a new column does not handle.
func (s Settings) pauses(kind string) bool {
	if s.OnSchemaChange != "" {
		return s.OnSchemaChange == OnChangePause
	}
	return kind == Postgres || kind == ClickHouse || kind == Search
}

// sends reports whether the settings say that a column of the source is sent. Columns of the key are always sent.
func (s Settings) sends(name string) bool {
	if len(s.Columns) > 0 {
		return slices.Contains(s.Columns, name)
	}
	return !slices.Contains(s.Without, name)
}

// Column returns the name under which a sink receives a column; false if it does not. Columns of the key are always sent.
func (s Settings) Column(name string, isKey bool) (string, bool) {
	return s.renamed(name), isKey || s.sends(name)
}

// Judge says why a sink has to pause before a change whose table has other columns than in the accepted version, and how to fix that;
// empty if the sink continues.
func Judge(ctx context.Context, on database.DBTX, name, kind string, s Settings, c change.Change, accepted int) (string, error) {
	if !s.pauses(kind) {
		return "", nil
	}
	before, err := version.Columns(ctx, on, c, accepted)
	if err != nil {
		return "", err
	}
	after, err := version.Columns(ctx, on, c, c.SchemaVersion)
	if err != nil || before == nil || after == nil {
		return "", err
	}
	breaking := slices.DeleteFunc(version.Breaking(version.Compare(before, after)), func(d version.Difference) bool {
		return (d.Old.Name == "" || !s.sends(d.Old.Name)) && (d.New.Name == "" || !s.sends(d.New.Name))
	})
	if len(breaking) == 0 {
		return "", nil
	}
	return "of " + c.Schema + "." + c.Table + ", " + version.List(breaking) + ": " + s.fix(kind, c, breaking) +
		"then run `daymill sink resume " + name + "`", nil
}

// fix returns how to adapt the target, as the beginning of a sentence.
func (s Settings) fix(kind string, c change.Change, breaking []version.Difference) string {
	switch kind {
	case Postgres:
		schema := s.Schema
		if schema == "" {
			schema = c.Schema
		}
		statements := make([]string, len(breaking))
		for i, d := range breaking {
			d.Old.Name, d.New.Name = s.renamed(d.Old.Name), s.renamed(d.New.Name)
			statements[i] = d.Alter(pgx.Identifier{schema, c.Table}.Sanitize())
		}
		return "run " + strings.Join(statements, "; ") + " in the target, "
	case ClickHouse:
		return "change the column in the target, "
	case Search:
		return "change the index's mapping, or make a new index and name it in daymill.yaml, "
	default:
		return "make sure that the receiver can handle the change, "
	}
}

func (s Settings) renamed(name string) string {
	if to, has := s.Rename[name]; has {
		return to
	}
	return name
}

// columnsOf returns the columns of a change as a sink with these settings receives them, with the types of the source.
func (s Settings) columnsOf(on *database.DB) func(ctx context.Context, c change.Change) ([]sink.Column, error) {
	return func(ctx context.Context, c change.Change) (columns []sink.Column, err error) {
		err = on.Read(ctx, func(on database.DBTX) error {
			columns, err = s.readColumns(ctx, on, c)
			return err
		})
		return columns, err
	}
}

func (s Settings) readColumns(ctx context.Context, on database.DBTX, c change.Change) (columns []sink.Column, err error) {
	key, err := sink.Row(c.Key)
	if err != nil {
		return nil, err
	}
	all, err := version.Columns(ctx, on, c, c.SchemaVersion)
	for _, column := range all {
		_, isKey := key[s.renamed(column.Name)]
		if isKey || s.sends(column.Name) {
			columns = append(columns, sink.Column{Name: s.renamed(column.Name), Type: column.Type})
		}
	}
	return columns, err
}
