package jobs

import (
	"context"
	"errors"

	"github.com/daymill/daymill/internal/capture/change"
)

// Change is one row inserted, updated or deleted, or a table truncated: the same document that every sink receives.
type Change = change.Change

// Operations of a Change.
const (
	ChangeInsert   = change.Insert
	ChangeUpdate   = change.Update
	ChangeDelete   = change.Delete
	ChangeTruncate = change.Truncate
)

// Defaults of ChangeFunc.
const (
	DefaultDatabase    = "app"
	DefaultChangeBatch = 100
)

// ChangeFunc calls a function with the changes of tables: see [OnChange]. The fields may be set before [ChangeFunc.Run].
type ChangeFunc[TTx any] struct {
	// Database is the one whose changes are wanted; DefaultDatabase if empty.
	Database string
	// Shards is into how many parts the changes are divided by their keys; 1 if zero. It cannot be changed later.
	Shards int
	// Batch is how many changes a call gets at most; DefaultChangeBatch if zero.
	Batch int
	// Failed is told of errors that Run survives: those of the function, and those of the database. May be nil.
	Failed func(ctx context.Context, err error)

	name   string
	tables []string
	do     func(ctx context.Context, tx TTx, changes []Change) error
}

// OnChange returns what calls do with the changes of tables, in the order of their commits, after [ChangeFunc.Run] has been
// called. Daymill captures the changes; the function runs in the application's own process.
//
// What do does with tx has its effect exactly once: the transaction also moves the position. do must not end it. Whatever else
// do does, such as calling a service, may happen again.
//
// Tables are patterns such as public.orders, public.order_* or a schema, with ! before what is left out; none mean all that are
// captured. The name is the function's identity: the position belongs to it. A new name begins at the end of the log.
//
// After an error the batch comes again, after a second at first and a minute at last, and half as large each time. An error
// of [Permanent] says that it will not get better: the change becomes a dead letter, later changes of its row wait behind it,
// and all others go on. So does a change that fails a dozen times alone while another one works. `daymill deadletter replay`
// brings them again.
func OnChange[TTx any](name string, tables []string, do func(ctx context.Context, tx TTx, changes []Change) error) *ChangeFunc[TTx] {
	return &ChangeFunc[TTx]{name: name, tables: tables, do: do}
}

// Permanent marks an error that will not go away with another attempt.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ error }

// Unwrap returns the error that was marked.
func (e *permanentError) Unwrap() error { return e.error }

func isPermanent(err error) bool {
	_, is := errors.AsType[*permanentError](err)
	return is
}
