package source

import (
	"fmt"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
)

// Categories and kinds of types, as in pg_type.
const (
	categoryNumber = "N"
	categoryString = "S"
	kindEnum       = "e"
)

// isWhole reports whether a type is one of the three integers.
func isWhole(column db.SourceColumnsRow) bool {
	switch column.BaseID {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID:
		return true
	default:
		return false
	}
}

// isText reports whether a type is text, varchar or a similar type.
func isText(column db.SourceColumnsRow) bool {
	return column.BaseCategory == categoryString || column.BaseKind == kindEnum || column.BaseID == pgtype.QCharOID
}

// entityExpression returns the SQL expression that converts a column to the entity's id. It uses only casts that lose nothing, so
// that ids that differ in the application also differ here.
func entityExpression(column db.SourceColumnsRow, installed entity.Type) (string, error) {
	switch {
	case installed == entity.UUID && column.BaseID == pgtype.UUIDOID:
		return column.Quoted + "::uuid::analytics.entity_id", nil
	case installed == entity.Bigint && isWhole(column):
		return column.Quoted + "::bigint::analytics.entity_id", nil
	case installed == entity.Text && (isText(column) || isWhole(column) || column.BaseID == pgtype.UUIDOID):
		return column.Quoted + "::text::analytics.entity_id", nil
	}
	way := fmt.Sprintf("give another column, or write the view by hand (CREATE OR REPLACE VIEW analytics.events AS SELECT …) "+
		"with an expression that converts it to %s", installed)
	switch {
	case column.BaseID == pgtype.UUIDOID:
		way += ", or install the schema again with --entity-type uuid"
	case isWhole(column):
		way += ", or install the schema again with --entity-type bigint"
	case isText(column):
		way += ", or install the schema again with --entity-type text"
	}
	return "", refusef("the %s column %s cannot be the entity in a database that was installed for %s: %s",
		column.Type, column.Quoted, installed, way)
}

// typeExpression returns the SQL expression that converts a column to the event type. It removes the column's collation, because
// CREATE OR REPLACE VIEW cannot change the collation of a view's column.
func typeExpression(column db.SourceColumnsRow) (string, error) {
	if isText(column) || column.BaseCategory == categoryNumber {
		expression := column.Quoted + "::text"
		if column.Collated {
			expression += ` COLLATE pg_catalog."default"`
		}
		return expression, nil
	}
	return "", refusef("the %s column %s cannot be the event type: give a column with a text, an enum or a number, or write the view "+
		"by hand (CREATE OR REPLACE VIEW analytics.events AS SELECT …) with an expression that converts it to text",
		column.Type, column.Quoted)
}

// timeExpression returns the SQL expression that converts a column to the instant. zone is a literal, empty if none is needed.
func timeExpression(column db.SourceColumnsRow, zone string) (string, error) {
	const byHand = "write the view by hand (CREATE OR REPLACE VIEW analytics.events AS SELECT …) with "
	switch column.BaseID {
	case pgtype.TimestamptzOID:
		return column.Quoted + "::timestamptz", nil
	case pgtype.TimestampOID:
		return "(" + column.Quoted + " AT TIME ZONE " + zone + ")", nil
	case pgtype.DateOID:
		return "", refusef("the date column %s has no time of day: give a timestamptz column, or "+byHand+
			"(%s::timestamp AT TIME ZONE 'UTC') AS created_at, and an index on that expression", column.Quoted, column.Quoted)
	default:
		if column.BaseCategory == categoryNumber {
			return "", refusef("the %s column %s is not an instant: give a timestamptz column, or, if it counts seconds since 1970, "+
				byHand+"to_timestamp(%s) AS created_at, and an index on (to_timestamp(%s)); divide by 1000.0 if it counts "+
				"milliseconds", column.Type, column.Quoted, column.Quoted, column.Quoted)
		}
		return "", refusef("the %s column %s is not an instant: give a timestamptz or timestamp column, or "+byHand+
			"an expression of such a type", column.Type, column.Quoted)
	}
}
