package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// connectError returns an error that says in one sentence which server did not answer, and why.
func connectError(config *pgx.ConnConfig, err error) error {
	return fmt.Errorf("%w at %s (database %q, user %q): %s", ErrConnect, address(config), config.Database, config.User, connectCause(config, err))
}

// lostError is a connection of a pool that could not be made. Its text is that of connectError; what it wraps is for predicates.
type lostError struct{ sentence, cause error }

func (e *lostError) Error() string { return e.sentence.Error() }

func (e *lostError) Unwrap() error { return e.cause }

// lost rewrites a pool's error as Open would report it.
func (db *DB) lost(err error) error {
	if _, is := errors.AsType[*pgconn.ConnectError](err); !is {
		return err
	}
	return &lostError{sentence: connectError(db.Config().ConnConfig, err), cause: err}
}

// connectCause says why a connection failed. The driver's own text has a line for each address and each kind of encryption that it
// tried; the last of them is what counts.
func connectCause(config *pgx.ConnConfig, err error) string {
	var server *pgconn.PgError
	var network *net.OpError
	var name *net.DNSError
	var length *pgproto3.ExceededMaxBodyLenErr
	switch {
	case errors.As(err, &server):
		return server.Message + loginFix(server.Code)
	case errors.As(err, &name):
		return "there is no host " + strconv.Quote(name.Name) + ": look for a mistake in the URL's host, or in DNS"
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %v: is it the right host and port, and may this machine reach it? connect_timeout=30 in the URL waits longer",
			config.ConnectTimeout)
	case errors.As(err, &length):
		return "what answers there is not Postgres: is it the right port?"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connect: connection refused: start Postgres there, or correct the host and port of the URL"
	case errors.As(err, &network):
		return network.Err.Error()
	}
	for {
		switch wraps := err.(type) { //nolint:errorlint // Down to the last one.
		case interface{ Unwrap() []error }:
			all := wraps.Unwrap()
			err = all[len(all)-1]
		case interface{ Unwrap() error }:
			if wraps.Unwrap() == nil {
				return oneLine(err)
			}
			err = wraps.Unwrap()
		default:
			return oneLine(err)
		}
	}
}

// loginFix says what fixes a login that the server has refused, or nothing.
func loginFix(code string) string {
	switch code {
	case pgerrcode.UndefinedObject:
		return ": leave this parameter out of the URL"
	case pgerrcode.InvalidPassword:
		return ": correct the user and the password in the URL, or set PGPASSWORD"
	case pgerrcode.InvalidCatalogName:
		return ": correct the URL, or create the database with createdb"
	default:
		return ""
	}
}

// oneLine returns the driver's text in one line, and what to do if the driver does not say it.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if text == "server refused TLS connection" { // The driver has no error value for it.
		return "the server has no TLS: switch ssl on there, or write sslmode=disable in the URL"
	}
	return text
}

// Code returns the SQLSTATE of an error from the server, or "".
func Code(err error) string {
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		return server.Code
	}
	return ""
}

// Sentence returns what the server says of an error, without its severity and code, or the error's text if no server said it.
func Sentence(err error) string {
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		return server.Message
	}
	return err.Error()
}

// Text returns an error's text with the hint of the server, if it gave one. It leaves out the server's detail, which may quote rows.
func Text(err error) string {
	if server, ok := errors.AsType[*pgconn.PgError](err); ok && server.Hint != "" {
		return err.Error() + "; hint: " + server.Hint
	}
	return err.Error()
}

// IsUnreachable reports whether an error is something other than a server's answer to a statement: the server
// could not be reached, rejected the login or is shutting down, or the caller's context was done. Such errors
// may name hosts.
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
