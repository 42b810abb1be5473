package source

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/postgres"
)

// Target is the table into which `daymill import` writes events, so that analytics.events shows them.
type Target struct {
	Schema, Table string // exact, without quotes

	Entity, Type, Time TargetColumn

	// TimeZone is the zone of Time if it is a timestamp without time zone; empty if it is a timestamptz.
	TimeZone string
	// Map renames event types that are read from the table: its keys are the table's names, its values Daymill's.
	Map map[string]string
	// Where is the condition that a row must meet to be an event; empty if there is none.
	Where string
}

// TargetColumn is a column and its native type, as SQL writes it: uuid, character varying(20), app.kind.
type TargetColumn struct {
	Name, Type string
}

// FindTarget returns the table behind analytics.events. It returns ErrNone if there is none, ErrHandWritten if Set did not create
// the view, ErrSwapped if it reads another table than the source, and ErrRefused if the view reads a relation into which rows cannot be written, such as a view.
func FindTarget(ctx context.Context, conn *postgres.DB) (Target, error) {
	var target Target
	err := conn.Tx(ctx, func(tx pgx.Tx) error {
		source, err := show(ctx, tx)
		if err != nil {
			return err
		}
		if err := checkSwapped(ctx, tx); err != nil {
			return err
		}
		if source.HandWritten {
			return fmt.Errorf("%w: run `daymill source set` to make it read one table, into which rows can be written", ErrHandWritten)
		}
		table, err := lookup(ctx, tx, source.Schema, source.Table)
		if err != nil {
			return err
		}
		if slices.Contains([]string{kindView, kindMatview}, table.Kind) {
			return refusef("the source %s is a view, into which rows cannot be written: write them to the table behind it", table.Quoted)
		}
		target = Target{
			Schema: source.Schema, Table: source.Table,
			TimeZone: source.TimeZone, Map: source.Map, Where: source.Where,
		}
		for _, column := range table.columns {
			found := TargetColumn{Name: column.Name, Type: column.Type}
			if column.Name == source.Entity {
				target.Entity = found
			}
			if column.Name == source.Type {
				target.Type = found
			}
			if column.Name == source.Time {
				target.Time = found
			}
		}
		return nil
	})
	return target, err
}
