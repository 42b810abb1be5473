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

// isText reports whether a type is text by another name.
func isText(column db.SourceColumnsRow) bool {
	return column.BaseCategory == categoryString || column.BaseKind == kindEnum || column.BaseID == pgtype.QCharOID
}

// entityExpression is a column as the entity's id. Only casts that lose nothing are made: two ids that differ in the
// application differ here, too.
func entityExpression(column db.SourceColumnsRow, installed entity.Type) (string, error) {
	switch {
	case installed == entity.UUID && column.BaseID == pgtype.UUIDOID:
		return column.Quoted + "::uuid::analytics.entity_id", nil
	case installed == entity.Bigint && isWhole(column):
		return column.Quoted + "::bigint::analytics.entity_id", nil
	case installed == entity.Text && (isText(column) || isWhole(column) || column.BaseID == pgtype.UUIDOID):
		return column.Quoted + "::text::analytics.entity_id", nil
	}
	way := fmt.Sprintf("name another column, or write the view by hand (CREATE OR REPLACE VIEW analytics.events AS SELECT …) "+
		"with an expression that makes a %s of it", installed)
	switch {
	case column.BaseID == pgtype.UUIDOID:
		way += ", or install the schema again with --entity-type uuid"
	case isWhole(column):
		way += ", or install the schema again with --entity-type bigint"
	case isText(column):
		way += ", or install the schema again with --entity-type text"
	}
	return "", refusef("the %s column %s cannot name entities in a database installed for %s: %s",
		column.Type, column.Quoted, installed, way)
}

// typeExpression is a column as the event type. A collation of its own is taken off, because a view's
// column cannot change its collation.
func typeExpression(column db.SourceColumnsRow) (string, error) {
	if isText(column) || column.BaseCategory == categoryNumber {
		expression := column.Quoted + "::text"
		if column.Collated {
			expression += ` COLLATE pg_catalog."default"`
		}
		return expression, nil
	}
	return "", refusef("the %s column %s is no event type: name a column of text, an enum or a number, or write the view "+
		"by hand (CREATE OR REPLACE VIEW analytics.events AS SELECT …) with an expression that makes a text of it",
		column.Type, column.Quoted)
}

// timeExpression is a column as the instant. The zone is a literal, and empty where the column needs none.
func timeExpression(column db.SourceColumnsRow, zone string) (string, error) {
	const byHand = "write the view by hand (CREATE OR REPLACE VIEW analytics.events AS SELECT …) with "
	switch column.BaseID {
	case pgtype.TimestamptzOID:
		return column.Quoted + "::timestamptz", nil
	case pgtype.TimestampOID:
		return "(" + column.Quoted + " AT TIME ZONE " + zone + ")", nil
	case pgtype.DateOID:
		return "", refusef("the date column %s names no instant: name a timestamptz column, or "+byHand+
			"(%s::timestamp AT TIME ZONE 'UTC') AS created_at, and an index on that expression", column.Quoted, column.Quoted)
	default:
		if column.BaseCategory == categoryNumber {
			return "", refusef("the %s column %s is no instant: name a timestamptz column, or, if it counts seconds since 1970, "+
				byHand+"to_timestamp(%s) AS created_at, and an index on (to_timestamp(%s)); divide by 1000.0 if it counts "+
				"milliseconds", column.Type, column.Quoted, column.Quoted, column.Quoted)
		}
		return "", refusef("the %s column %s is no instant: name a column that is timestamptz or timestamp, or "+byHand+
			"an expression that is", column.Type, column.Quoted)
	}
}
