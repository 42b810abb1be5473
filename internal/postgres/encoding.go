package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ErrEncoding is returned for a database whose encoding is not UTF8. Entities of type text are published in the order of
// their bytes, which is Postgres's own order only in UTF8; in any other encoding, rows would seem to be missing or deleted.
var ErrEncoding = errors.New("its encoding is not UTF8, the only one in which Daymill and Postgres sort text alike: create a new database " +
	"with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and move the application's data there")

// checkEncoding rejects every encoding but UTF8. The server announces its encoding when a connection starts, so the check is
// free; a pooler may leave the announcement out.
func checkEncoding(ctx context.Context, conn *pgx.Conn) error {
	encoding := conn.PgConn().ParameterStatus("server_encoding")
	if encoding == "" {
		result := conn.PgConn().ExecParams(ctx, "SHOW server_encoding", nil, nil, nil, nil).Read()
		if result.Err != nil {
			return connectError(conn.Config(), result.Err)
		}
		encoding = string(result.Rows[0][0])
	}
	if encoding != "UTF8" {
		return fmt.Errorf("database %q is %s: %w", conn.Config().Database, encoding, ErrEncoding)
	}
	return nil
}
