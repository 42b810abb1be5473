package jobs

import (
	"context"
	"errors"

	"github.com/daymill/daymill/internal/capture/change"
)

// Change is an inserted, updated or deleted row, a truncated table, or a sweep. Its JSON is the document that every sink receives.
type Change = change.Change

// Operations of a Change.
const (
	ChangeInsert   = change.Insert
	ChangeUpdate   = change.Update
	ChangeDelete   = change.Delete
	ChangeTruncate = change.Truncate
	// ChangeSweep ends the snapshot of a table: see [ChangeFunc.Sweeps].
	ChangeSweep = change.Sweep
)

// Defaults of ChangeFunc.
const (
	DefaultDatabase    = "app"
	DefaultChangeBatch = 100
)

// ChangeFunc calls a function with the changes of tables: see [OnChange]. Set its fields before calling [ChangeFunc.Run].
type ChangeFunc[TTx any] struct {
	// Database is the name of the captured database; DefaultDatabase if empty.
	Database string
	// Shards is how many processes can work at the same time. Changes are divided into shards by their keys, so that changes of a
	// row stay in order. 1 if zero. It cannot be changed later.
	Shards int
	// Batch is the most changes that one call gets; DefaultChangeBatch if zero.
	Batch int
	// Sweeps makes Run also call the function with sweeps. A sweep is a change of a table without a key and a row. It says that rows whose last
	// change has the position in Old ({"position": N}) or an earlier one are gone, because a snapshot did not find them: they were deleted
	// during a gap. With several shards, the function gets a sweep for each.
	Sweeps bool
	// Failed is called with each error after which Run tries again: errors of the function and of the database. It may be nil.
	Failed func(ctx context.Context, err error)

	name   string
	tables []string
	do     func(ctx context.Context, tx TTx, changes []Change) error
}

// OnChange returns a ChangeFunc whose [ChangeFunc.Run] calls do with the changes of tables, in the order of their commits.
// Daymill captures the changes; do runs in the application's own process.
//
// Everything that do writes with tx takes effect exactly once, because the same transaction moves the position. do must not
// commit or roll back tx. Anything else that do does, such as calling a service, may happen again.
//
// Tables are patterns: public.orders, public.order_*, or a schema. A pattern that begins with ! excludes tables. Without
// patterns, do gets the changes of all captured tables. The position belongs to the name. A new name begins at the end of the
// log.
//
// If do returns an error, it is called again after a second, and after each further error after twice as long, up to a minute,
// each time with half as many changes. If do returns an error made by [Permanent], the change becomes a dead letter, later
// changes of the same row wait behind it, and all other changes continue. The same happens to a change that alone fails twelve
// times while another change succeeds. `daymill deadletter replay` delivers dead letters again.
//
//	copied := jobs.OnChange("copy", []string{"public.orders"}, func(ctx context.Context, tx pgx.Tx, changes []jobs.Change) error {
//		for _, c := range changes {
//			if _, err := tx.Exec(ctx, "INSERT INTO order_log (position, key) VALUES ($1, $2)", c.Position, string(c.Key)); err != nil {
//				return err
//			}
//		}
//		return nil
//	})
//	return copied.Run(ctx, client)
func OnChange[TTx any](name string, tables []string, do func(ctx context.Context, tx TTx, changes []Change) error) *ChangeFunc[TTx] {
	return &ChangeFunc[TTx]{name: name, tables: tables, do: do}
}

// Permanent marks an error for which another attempt will not help: see [OnChange].
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
