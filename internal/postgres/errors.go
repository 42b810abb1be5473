package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// connectError returns an error that says in one sentence which server did not answer, and why.
func connectError(config *pgx.ConnConfig, err error) error {
	cause := err.Error()
	var server *pgconn.PgError
	var network *net.OpError
	switch {
	case errors.As(err, &server):
		cause = server.Message
		if server.Code == pgerrcode.UndefinedObject {
			cause += ": leave this parameter out of the URL"
		}
	case errors.As(err, &network):
		cause = network.Err.Error()
	}
	return fmt.Errorf("%w at %s (database %q, user %q): %s", ErrConnect, address(config), config.Database, config.User, cause)
}

// Code returns the SQLSTATE of an error from the server, or "".
func Code(err error) string {
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		return server.Code
	}
	return ""
}

// Text returns an error's text with the hint of the server, if it gave one. It leaves out the server's detail, which may quote rows.
func Text(err error) string {
	if server, ok := errors.AsType[*pgconn.PgError](err); ok && server.Hint != "" {
		return err.Error() + "; hint: " + server.Hint
	}
	return err.Error()
}

// IsUnreachable reports whether an error is something else than a server's answer to a statement: the server could not be
// reached, rejected the login or is shutting down, or the caller's time was over. Such errors may name hosts.
func IsUnreachable(err error) bool {
	if code := Code(err); code != "" {
		return pgerrcode.IsConnectionException(code) || pgerrcode.IsInvalidAuthorizationSpecification(code) ||
			pgerrcode.IsInsufficientResources(code) || pgerrcode.IsOperatorIntervention(code) && code != pgerrcode.QueryCanceled
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, ErrConnect) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		pgconn.SafeToRetry(err)
}

// IsTimeout reports whether a statement reached its statement_timeout, or an administrator cancelled it: Postgres uses the
// same code for both.
func IsTimeout(err error) bool { return Code(err) == pgerrcode.QueryCanceled }

// IsLockTimeout reports whether a statement waited longer than lock_timeout for a lock.
func IsLockTimeout(err error) bool { return Code(err) == pgerrcode.LockNotAvailable }

// IsDuplicate reports whether the row already exists.
func IsDuplicate(err error) bool { return Code(err) == pgerrcode.UniqueViolation }

// IsTooLong reports whether a value is too long for an index: the limit is about 2,700 bytes.
func IsTooLong(err error) bool { return Code(err) == pgerrcode.ProgramLimitExceeded }

// IsMissing reports whether a statement names a schema, table, column or function that does not exist: the database is not
// migrated.
func IsMissing(err error) bool {
	switch Code(err) {
	case pgerrcode.InvalidSchemaName, pgerrcode.UndefinedTable, pgerrcode.UndefinedFunction, pgerrcode.UndefinedObject:
		return true
	default:
		return false
	}
}
