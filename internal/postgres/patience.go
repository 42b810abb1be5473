package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
)

const (
	// DefaultLockPatience is how long a patient session waits for locks before it gives up a statement.
	DefaultLockPatience = time.Minute
	// lockedLimit is the longest limit of a statement that waits for a lock. The limit doubles with each try.
	lockedLimit = 4 * time.Second
	// mostCuts is how many connections in a row a patient session tries for one statement. The pauses start at firstPause and
	// double up to longestPause: about twenty seconds in all, enough for a restart of Postgres.
	mostCuts     = 10
	firstPause   = 50 * time.Millisecond
	longestPause = 4 * time.Second
	// mostConflicts is how often in a row it repeats a transaction that was rolled back because of another one.
	mostConflicts = 5
	// mostStrays is how often it repeats one whose BEGIN or COMMIT was cancelled. A COMMIT that takes too long each time, because of
	// deferred constraints, is the caller's to judge.
	mostStrays = 2
)

// tries is how often Patiently calls a function that waits for a lock.
const tries = 15

// Patiently calls do again while it reaches a lock_timeout or a statement_timeout because another session holds a lock. After a timeout
// nothing was written, so trying again is safe. It is for transactions that take any connection; a session has patience of its own.
func Patiently(ctx context.Context, do func() error) (err error) {
	for range tries {
		if err = do(); !IsLockTimeout(err) && !IsTimeout(err) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// ErrLocked is returned for a statement that waited too long for a lock. Its wrapper names the lock and its holder.
var ErrLocked = errors.New("waited too long for a lock")

// Patient makes a session patient. Before each further try it calls between, which writes a heartbeat and whose error ends
// the waiting. Running statements are not cancelled when their context is done: they have a short limit, and cancelling a
// statement closes its connection.
func (s *Session) Patient(between func(ctx context.Context) error) {
	s.patient, s.between = true, between
}

// within bounds a statement in the client, too.
func (s *Session) within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if !s.patient {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(context.WithoutCancel(ctx), limit+patience)
}

// send calls once, and calls it again if a retry can help.
func (s *Session) send(
	ctx context.Context, limit time.Duration, once func(ctx context.Context, limit time.Duration) error,
) error {
	var locked time.Duration
	var holder string
	cuts, conflicts, strays := 0, 0, 0
	for {
		if s.conn == nil {
			if err := s.connect(ctx); err != nil {
				if cuts++; !s.patient || !IsCut(err) || cuts > mostCuts {
					return err
				}
				if err := s.pause(ctx, cuts); err != nil {
					return err
				}
				continue
			}
		}
		start, before := time.Now(), s.Waited() //nolint:forbidigo // Real time, as in wire.
		err := s.once(ctx, limit, once, locked > 0, &holder)
		switch {
		case err == nil:
			return nil
		case !s.patient && IsLockTimeout(err):
			return fmt.Errorf("%w%s: %w", ErrLocked, holder, err)
		case !s.patient:
			return err
		}
		again := true
		switch code := Code(err); {
		case IsLockTimeout(err):
			if locked += lockLimit(limit); locked >= s.db.lockPatience {
				return fmt.Errorf("%w%s: %w", ErrLocked, holder, err)
			}
			limit = max(limit, min(2*limit, lockedLimit))
		case code == pgerrcode.SerializationFailure, code == pgerrcode.DeadlockDetected:
			conflicts++
			again = conflicts <= mostConflicts
		case isStray(err):
			strays++
			again = strays <= mostStrays
		case s.conn.Conn().IsClosed() || IsCut(err):
			s.drop(ctx)
			cuts++
			again = cuts <= mostCuts
			if committed, known := s.committed(ctx, err); known && committed {
				return nil
			} else if !known {
				again = false
			}
		default:
			again = false
		}
		s.waited += max(0, time.Since(start)-(s.Waited()-before)) // A failed try is not work.
		if !again {
			return err
		}
		if err := s.pause(ctx, cuts); err != nil {
			return err
		}
	}
}

// isStray reports whether a statement may have been cancelled in place of the one before it: if the timeout of that one passes in
// the moment in which it ends, Postgres cancels what comes next, "due to user request". A cancelled statement of the caller's is
// the caller's to judge.
func isStray(err error) bool {
	_, ours := errors.AsType[*ownError](err)
	return ours && Code(err) == pgerrcode.QueryCanceled
}

func (s *Session) once(
	ctx context.Context, limit time.Duration, once func(ctx context.Context, limit time.Duration) error,
	look bool, holder *string,
) error {
	within, cancel := s.within(ctx, limit)
	defer cancel()
	if !look && s.patient {
		return once(within, limit)
	}
	s.looking = true
	defer func() { s.looking = false }()
	looking, stop := context.WithCancel(within)
	found := make(chan string, 1)
	go func() { found <- s.db.holder(looking, s.pid.Load, lockLimit(limit)/2) }()
	err := once(within, limit)
	stop()
	if is := <-found; is != "" {
		*holder = is
	}
	return err
}

// pause writes a heartbeat, and waits if connections were cut.
func (s *Session) pause(ctx context.Context, cuts int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if cuts > 0 {
		timer := time.NewTimer(min(longestPause, firstPause<<cuts))
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		}
	}
	if s.between == nil || s.waiting || cuts > 0 { // A heartbeat would not find the database either.
		return nil
	}
	s.waiting = true
	defer func() { s.waiting = false }()
	return s.between(ctx)
}

// committed finds out whether a transaction was committed if its COMMIT was not answered. Any other transaction was rolled
// back.
func (s *Session) committed(ctx context.Context, err error) (committed, known bool) {
	var cut *cutError
	if !errors.As(err, &cut) || cut.xid == "" {
		return false, true
	}
	for try := range mostCuts {
		var status string
		err := func() error {
			within, cancel := s.within(ctx, 0)
			defer cancel()
			return s.db.Read(within, func(on DBTX) error {
				return on.QueryRow(within, "SELECT coalesce(pg_catalog.pg_xact_status($1::pg_catalog.text::pg_catalog.xid8), 'aborted')",
					cut.xid).Scan(&status)
			})
		}()
		switch {
		case err == nil && status == "committed":
			return true, true
		case err == nil && status == "aborted", Code(err) == pgerrcode.InvalidParameterValue: // It is of another life.
			return false, true
		}
		timer := time.NewTimer(min(longestPause, firstPause<<try)) // It is about to end, or the server is starting.
		select {
		case <-ctx.Done():
			timer.Stop()
			return false, false
		case <-timer.C:
		}
	}
	return false, false
}

// holder describes, for people, what a server process waits for after a while, and who holds it.
func (db *DB) holder(ctx context.Context, pid func() int32, after time.Duration) string {
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ""
	case <-timer.C:
	}
	var lock, relation string
	var holders []string
	err := db.Read(ctx, func(on DBTX) error {
		return on.QueryRow(ctx, `SELECT
				pg_catalog.lower(l.mode), coalesce(l.relation::pg_catalog.regclass::pg_catalog.text, ''),
				ARRAY(
					SELECT pg_catalog.format('process %s (%s of user %s)', a.pid,
						coalesce(nullif(a.application_name, ''), 'an unnamed application'), coalesce(a.usename, '?'))
						|| coalesce(pg_catalog.to_char(a.xact_start, '", in a transaction since" YYYY-MM-DD HH24:MI:SS "UTC"'), '')
					FROM pg_catalog.pg_stat_activity AS a
					WHERE a.pid = ANY (pg_catalog.pg_blocking_pids(l.pid))
				)
			FROM pg_catalog.pg_locks AS l
			WHERE l.pid = $1 AND NOT l.granted
			LIMIT 1`, pid()).Scan(&lock, &relation, &holders)
	})
	if err != nil || len(holders) == 0 {
		return ""
	}
	what := "a row"
	if relation != "" {
		what = fmt.Sprintf("%s (%s)", relation, lock)
	}
	return fmt.Sprintf(" on %s, which is held by %s: wait for it to end, or end it with `SELECT pg_terminate_backend(…)`",
		what, strings.Join(holders, " and "))
}
