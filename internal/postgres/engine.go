package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

// ErrEngine is returned for a server that speaks Postgres's protocol and is another database. CockroachDB has no LISTEN, and
// YugabyteDB has no transition tables, which the triggers that record requests need.
var ErrEngine = errors.New("which lacks transition tables or LISTEN, and Daymill needs Postgres itself: " +
	"set DATABASE_URL to a Postgres server, 14 or later")

// checkServer rejects servers on which Daymill would not work or not be exact. A server announces what it is when a connection starts, so the
// check is free. A pooler may leave the announcements out; then one statement asks for them.
func checkServer(ctx context.Context, conn *pgx.Conn) error {
	version, encoding := conn.PgConn().ParameterStatus("server_version"), conn.PgConn().ParameterStatus("server_encoding")
	if conn.PgConn().ParameterStatus("crdb_version") != "" {
		version = cockroach
	}
	if encoding == "" {
		const ask = "SELECT pg_catalog.version(), pg_catalog.current_setting('server_encoding')"
		result := conn.PgConn().ExecParams(ctx, ask, nil, nil, nil, nil).Read()
		if result.Err != nil {
			return connectError(conn.Config(), result.Err)
		}
		version, encoding = string(result.Rows[0][0]), string(result.Rows[0][1])
	}
	if err := checkEngine(version); err != nil {
		return err
	}
	return checkEncoding(conn, encoding)
}

// cockroach is in the version of every CockroachDB.
const cockroach = "CockroachDB"

// yugabyte matches the version of YugabyteDB, as it announces it and as version() has it.
var yugabyte = regexp.MustCompile(`[0-9][0-9.]*-YB-[^ ]+`)

func checkEngine(version string) error {
	if strings.Contains(version, cockroach) {
		return fmt.Errorf("the server is CockroachDB, %w", ErrEngine)
	}
	if found := yugabyte.FindString(version); found != "" {
		return fmt.Errorf("the server is YugabyteDB %s, %w", found, ErrEngine)
	}
	return nil
}
