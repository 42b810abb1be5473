// Package ddl archives schema changes. Event triggers write each statement to the WAL as a message, at its exact place among the changes
// of rows, and this package turns the message into a statement that repeats the change.
//
// The triggers know the text that the client sent. The text may have several statements, or call a function that ran the statement.
// [Text] finds the statement in the text. If it cannot, the change is lost, and the archive needs a new base.
package ddl

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
)

// Schema has everything that the archive installs in a database.
const Schema = schema.Archive

// Row is the suffix of the prefix in messages that have a row.
const Row = ".row"

// Prefix returns the prefix of the messages in the WAL of a database. It is a secret, because every role may write messages.
func Prefix(ctx context.Context, on postgres.DBTX) (prefix string, err error) {
	if err := on.QueryRow(ctx, "SELECT s.prefix FROM daymill_archive.secret AS s").Scan(&prefix); err != nil {
		return "", fmt.Errorf("read the prefix of the archive's messages: %w", err)
	}
	return prefix, nil
}

//go:embed install.sql
var installSQL string

// Install creates the event triggers, and sets REPLICA IDENTITY FULL on every table without a key. It needs a superuser.
func Install(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, installSQL); err != nil {
		return fmt.Errorf("install the event triggers: %w", err)
	}
	return Identify(ctx, tx)
}

// Identify sets REPLICA IDENTITY FULL on every table without a key that does not have it: Postgres fires no event trigger for a table that
// EXPLAIN ANALYZE CREATE … AS creates.
func Identify(ctx context.Context, on postgres.DBTX) error {
	if _, err := on.Exec(ctx, "SELECT daymill_archive.identify()"); err != nil {
		return fmt.Errorf("give tables without a key a replica identity: %w", err)
	}
	return nil
}

// Removal is the SQL that removes what Install created.
const Removal = `DROP EVENT TRIGGER IF EXISTS daymill_archive_begun;
DROP EVENT TRIGGER IF EXISTS daymill_archive_rewritten;
DROP EVENT TRIGGER IF EXISTS daymill_archive_dropped;
DROP EVENT TRIGGER IF EXISTS daymill_archive_ended;
DROP EVENT TRIGGER IF EXISTS daymill_archive_begin_called;
DROP EVENT TRIGGER IF EXISTS daymill_archive_end_called;
DROP SCHEMA IF EXISTS daymill_archive CASCADE;
`

// triggers is how many event triggers Install creates.
const triggers = 6

// Installed reports whether all event triggers exist and are enabled.
func Installed(ctx context.Context, on postgres.DBTX) (bool, error) {
	var count int
	err := on.QueryRow(ctx, `
		SELECT count(*) FROM pg_catalog.pg_event_trigger AS t INNER JOIN pg_catalog.pg_proc AS p ON p.oid = t.evtfoid
		WHERE t.evtname LIKE 'daymill\_archive\_%' AND t.evtenabled = 'A' AND p.pronamespace = pg_catalog.to_regnamespace($1)`, Schema).Scan(&count)
	if err != nil {
		return false, fmt.Errorf("find the event triggers: %w", err)
	}
	return count == triggers, nil
}

// Kinds of messages.
const (
	KindBegin   = "begin"    // a statement has begun whose rows come before its own message
	KindEnd     = "end"      // a statement has ended
	KindSQL     = "sql"      // a statement that follows from the one before
	KindRows    = "rows"     // all rows of a table follow, and replace its current rows
	KindRowsEnd = "rows_end" // the last of these rows was sent
	KindLost    = "lost"     // the triggers failed
)

// Message is one message of the triggers.
type Message struct {
	Kind     string            `json:"kind"`
	Tag      string            `json:"tag"`
	Skip     string            `json:"skip"` // why the statement is not archived; empty if it is
	Query    string            `json:"query"`
	Context  string            `json:"context"`
	Settings map[string]string `json:"settings"`
	Objects  []string          `json:"objects"`
	SQL      string            `json:"sql"`    // made from the catalog; empty if the text is used
	Bodies   []string          `json:"bodies"` // bodies of the SQL functions that may have run the statement
	Bound    string            `json:"bound"`  // of the partition that was created, from the catalog
	// Temporary has the names of the session's temporary relations, if the statement is a GRANT, REVOKE or CREATE TABLE.
	Temporary []string `json:"temporary"`
	// Passing has the names of the functions of rows of temporary tables, if the statement is a GRANT or REVOKE, and no other function has the name.
	Passing []string `json:"passing"`
	// Place is how many statements of the text had come before, if the text has several. Event triggers of an earlier version do not send it.
	Place   *int     `json:"place"`
	Table   string   `json:"table"`
	Columns []string `json:"columns"`
	Reason  string   `json:"reason"`
}

// Decode reads a message.
func Decode(content []byte) (m Message, err error) {
	if err := json.Unmarshal(content, &m); err != nil {
		return m, fmt.Errorf("read a message of the event triggers: %w", err)
	}
	return m, nil
}

// DecodeRow reads a row: the values as SQL literals, nil for NULL.
func DecodeRow(content []byte) ([]*string, error) {
	var values pgtype.FlatArray[*string]
	if err := pgtype.NewMap().Scan(pgtype.TextArrayOID, pgtype.TextFormatCode, content, &values); err != nil {
		return nil, fmt.Errorf("read a row of a rewritten table: %w", err)
	}
	return values, nil
}
