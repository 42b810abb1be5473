package postgres

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ErrEncoding is returned for a database whose encoding is not UTF8. Entities of type text are published in the order of
// their bytes, which is Postgres's own order only in UTF8; in any other encoding, rows would seem to be missing or deleted.
var ErrEncoding = errors.New("its encoding is not UTF8, the only one in which Daymill and Postgres sort text alike: create a new database " +
	"with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and move the application's data there")

// checkEncoding rejects every encoding but UTF8.
func checkEncoding(conn *pgx.Conn, encoding string) error {
	if encoding != "UTF8" {
		return fmt.Errorf("database %q is %s: %w", conn.Config().Database, encoding, ErrEncoding)
	}
	return nil
}
