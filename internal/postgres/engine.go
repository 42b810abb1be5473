package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// ErrEngine is returned for a server that speaks Postgres's protocol and is another database. CockroachDB has no LISTEN, and
// YugabyteDB has no transition tables, which the triggers that record requests need.
var ErrEngine = errors.New("which lacks transition tables or LISTEN, and Daymill needs Postgres itself: " +
	"set DATABASE_URL to a Postgres server, 14 or later")

// checkEngine rejects databases that announce themselves as something else when a connection starts, so the
// check is free. Behind a pooler, a server may announce less; then the first statement that it does not know
// fails.
func checkEngine(conn *pgx.Conn) error {
	if conn.PgConn().ParameterStatus("crdb_version") != "" {
		return fmt.Errorf("the server is CockroachDB, %w", ErrEngine)
	}
	if version := conn.PgConn().ParameterStatus("server_version"); strings.Contains(version, "-YB-") {
		return fmt.Errorf("the server is YugabyteDB %s, %w", version, ErrEngine)
	}
	return nil
}

// checkServer rejects servers on which Daymill would not work or not be exact.
func checkServer(ctx context.Context, conn *pgx.Conn) error {
	if err := checkEngine(conn); err != nil {
		return err
	}
	return checkEncoding(ctx, conn)
}
