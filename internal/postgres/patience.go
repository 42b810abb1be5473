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
	// mostLocked is how long a patient session waits for locks until it gives a statement up.
	mostLocked = time.Minute
	// lockedLimit is what a statement's limit grows to while it waits for a lock: each try doubles it.
	lockedLimit = 4 * time.Second
	// mostCuts is how many connections in a row a patient session takes for one statement, with pauses of firstPause at first,
	// doubled up to longestPause: some twenty seconds in all. A Postgres that restarts is back by then.
	mostCuts     = 10
	firstPause   = 50 * time.Millisecond
	longestPause = 4 * time.Second
	// mostConflicts is how often in a row it does what was rolled back because of somebody else's transaction.
	mostConflicts = 5
)

// ErrLocked says that somebody has held a lock for so long that a statement was given up. What wraps it names the lock,
// and who holds it.
var ErrLocked = errors.New("waited a minute for a lock")

// Patient makes a session patient. Before each further try it calls between, which gives a sign of life, and whose error ends
// the waiting. Statements under way are not cut short when their context is done: they are about to end by themselves,
// and a connection whose statement is cancelled is lost.
func (s *Session) Patient(between func(ctx context.Context) error) {
	s.patient, s.between = true, between
}

// within bounds a statement on this side, too.
func (s *Session) within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if !s.patient {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(context.WithoutCancel(ctx), limit+patience)
}

// send sends what once sends, and again where that helps.
func (s *Session) send(
	ctx context.Context, limit time.Duration, once func(ctx context.Context, limit time.Duration) error,
) error {
	var locked time.Duration
	var holder string
	cuts, conflicts := 0, 0
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
		start, before := time.Now(), s.Waited() //nolint:forbidigo // As the wire's.
		err := s.once(ctx, limit, once, locked > 0, &holder)
		if err == nil || !s.patient {
			return err
		}
		again := true
		switch code := Code(err); {
		case IsLockTimeout(err):
			if locked += lockLimit(limit); locked >= mostLocked {
				return fmt.Errorf("%w%s: %w", ErrLocked, holder, err)
			}
			limit = max(limit, min(2*limit, lockedLimit))
		case code == pgerrcode.SerializationFailure, code == pgerrcode.DeadlockDetected:
			conflicts++
			again = conflicts <= mostConflicts
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
		s.waited += max(0, time.Since(start)-(s.Waited()-before)) // A try that failed is no work.
		if !again {
			return err
		}
		if err := s.pause(ctx, cuts); err != nil {
			return err
		}
	}
}

func (s *Session) once(
	ctx context.Context, limit time.Duration, once func(ctx context.Context, limit time.Duration) error,
	look bool, holder *string,
) error {
	within, cancel := s.within(ctx, limit)
	defer cancel()
	if !look || !s.patient {
		return once(within, limit)
	}
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

// pause gives a sign of life, and waits where connections are cut.
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
	if s.between == nil || s.waiting || cuts > 0 { // A sign of life would find the database no sooner.
		return nil
	}
	s.waiting = true
	defer func() { s.waiting = false }()
	return s.between(ctx)
}

// committed finds out what has come of a transaction whose COMMIT was not answered. Any other was rolled back.
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

// holder says what a server process waits for after a while, and who holds it: for people.
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
