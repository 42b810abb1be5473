package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/clock"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/text"
)

// How far the clocks may differ. The server's clock decides what is due and what is over.
const (
	skewWarning = 5 * time.Second
	skewFailure = clock.Tolerance
)

func checkClock(ctx context.Context, e *Examination, tx pgx.Tx) error {
	var server time.Time
	before := e.Clock.Now()
	if err := tx.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&server); err != nil {
		return fmt.Errorf("read the server's clock: %w", err)
	}
	after := e.Clock.Now()
	// The server read its clock at some instant between the two. Only a difference beyond that is skew.
	skew := max(before.Sub(server), server.Sub(after), 0).Round(time.Millisecond)
	switch {
	case skew > skewFailure:
		e.Addf(Failure, "the server's clock and this machine's are %s apart: a worker on this machine goes by the server's and leads nothing, and its log's times are wrong", text.Duration(skew)).
			Fixf("timedatectl set-ntp true")
	case skew > skewWarning:
		e.Addf(Warning, "the server's clock and this machine's are %s apart: the times in the log are wrong by as much", text.Duration(skew)).
			Fixf("timedatectl set-ntp true")
	default:
		e.Addf(OK, "the server's clock and this machine's agree")
	}
	return nil
}

// checkTimeZone compares the rules of Postgres and of this binary for the reporting zone, from six months ago to 18 months ahead.
func checkTimeZone(ctx context.Context, e *Examination, tx pgx.Tx) error {
	name := e.Installation.TimeZone
	var known bool
	err := tx.QueryRow(ctx, "SELECT EXISTS(SELECT FROM pg_catalog.pg_timezone_names AS z WHERE z.name = $1)", name).Scan(&known)
	if err != nil {
		return fmt.Errorf("look the zone up: %w", err)
	}
	if !known {
		e.Addf(Failure, "Postgres does not know the reporting zone %s: no date has bounds", name).
			Fixf("install the tz database on the server, or daymill migrate --timezone UTC")
		return nil
	}
	rows, err := tx.Query(ctx, `
		SELECT i, extract(epoch FROM (i AT TIME ZONE $1) - (i AT TIME ZONE 'UTC'))::integer
		FROM generate_series(now() - interval '6 months', now() + interval '18 months', '1 week') AS i`, name)
	if err != nil {
		return fmt.Errorf("read the zone's offsets: %w", err)
	}
	var at time.Time
	var offset int
	var differs *time.Time
	_, err = pgx.ForEachRow(rows, []any{&at, &offset}, func() error {
		if _, ours := at.In(e.Installation.Zone).Zone(); ours != offset && differs == nil {
			instant := at
			differs = &instant
		}
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("read the zone's offsets: %w", err)
	case differs != nil:
		e.Addf(Warning, "Postgres and this daymill disagree about %s at %s: the daily job runs at another hour than the pages say, and Postgres decides where dates begin",
			name, differs.UTC().Format(time.DateOnly)).Fixf("update the tz database of the server and deploy the newest daymill")
	default:
		e.Addf(OK, "Postgres and this daymill agree about %s", name)
	}
	return nil
}

// checkTransactions looks for transactions that prevent the removal of dead rows, in all databases of the server.
func checkTransactions(ctx context.Context, e *Examination, tx pgx.Tx) error {
	var pid, hidden *int64
	var age *float64
	var state *string
	err := tx.QueryRow(ctx, `
		SELECT o.pid, o.age, o.state, (
			SELECT nullif(count(*), 0) FROM pg_catalog.pg_stat_activity AS a
			WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.state IS NULL AND a.backend_type IS NULL
		)
		FROM (SELECT) AS one
		LEFT JOIN LATERAL (
			SELECT a.pid, extract(epoch FROM now() - a.xact_start)::float8 AS age, a.state
			FROM pg_catalog.pg_stat_activity AS a
			WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
				AND a.xact_start IS NOT NULL
			ORDER BY a.xact_start LIMIT 1
		) AS o ON true`).Scan(&pid, &age, &state, &hidden)
	if err != nil {
		return fmt.Errorf("look for open transactions: %w", err)
	}
	if pid != nil && *age > e.Limits.Transaction.Seconds() {
		e.Addf(Warning, "a transaction has been open for %s (process %d, %s): no dead row younger than it can be removed", text.Duration(seconds(age)), *pid, *state).
			Fixf("SELECT pg_terminate_backend(%d);", *pid)
	} else {
		e.Addf(OK, "no transaction that this role can see has been open for %s", text.Duration(e.Limits.Transaction))
	}
	if hidden != nil {
		e.Addf(Note, "cannot see what other roles do in %s", text.Plural(*hidden, "session")).Fixf("GRANT pg_read_all_stats TO %s;", e.role)
	}

	var name string
	err = tx.QueryRow(ctx, `
		SELECT p.gid, extract(epoch FROM now() - p.prepared)::float8 FROM pg_catalog.pg_prepared_xacts AS p
		WHERE p.database = current_database() ORDER BY p.prepared LIMIT 1`).Scan(&name, &age)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
	case err != nil:
		return fmt.Errorf("look for prepared transactions: %w", err)
	case *age > e.Limits.Transaction.Seconds():
		e.Addf(Warning, "a prepared transaction has been left open for %s: it holds locks and dead rows, across restarts", text.Duration(seconds(age))).
			Fixf("ROLLBACK PREPARED %s;", literal(name))
	}
	return nil
}

func checkAutovacuum(ctx context.Context, e *Examination, tx pgx.Tx) error {
	var on bool
	var off []string
	err := tx.QueryRow(ctx, `
		SELECT current_setting('autovacuum')::boolean AND current_setting('track_counts')::boolean, ARRAY(
			SELECT format('%I.%I', n.nspname, c.relname)
			FROM pg_catalog.pg_class AS c
			INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
			WHERE c.relkind = 'r' AND (n.nspname = ANY ($1) OR c.relname LIKE 'river\_%')
				AND array_to_string(c.reloptions, ' ') ~* 'autovacuum_enabled=(false|off|no|0)'
			ORDER BY 1
		)`, schema.Own()).Scan(&on, &off)
	switch {
	case err != nil:
		return fmt.Errorf("look at autovacuum: %w", err)
	case !on:
		e.Addf(Warning, "autovacuum is off: the queue and the ledger grow with every run").Fixf("ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf();")
	case len(off) == 0:
		e.Addf(OK, "autovacuum is on")
	}
	for _, table := range off {
		e.Addf(Warning, "autovacuum is off for %s: its dead rows are never removed", table).Fixf("ALTER TABLE %s RESET (autovacuum_enabled);", table)
	}
	return nil
}

func checkBloat(ctx context.Context, e *Examination, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `
		SELECT format('%I.%I', s.schemaname, s.relname), s.n_dead_tup, s.n_live_tup,
			coalesce(to_char(greatest(s.last_vacuum, s.last_autovacuum), 'YYYY-MM-DD'), 'never')
		FROM pg_catalog.pg_stat_user_tables AS s
		WHERE (s.schemaname = ANY ($3) OR s.schemaname = $1 AND s.relname LIKE 'river\_%')
			AND s.n_dead_tup > $2 AND s.n_dead_tup > s.n_live_tup / 5
		ORDER BY s.n_dead_tup DESC LIMIT 5`, e.Installation.RiverSchema, e.Limits.DeadRows, schema.Reserved())
	if err != nil {
		return fmt.Errorf("count dead rows: %w", err)
	}
	var table, last string
	var dead, live int64
	found := false
	_, err = pgx.ForEachRow(rows, []any{&table, &dead, &live, &last}, func() error {
		found = true
		e.Addf(Warning, "%s has %s beside %d (vacuumed: %s): statements read past them", table, text.Plural(dead, "dead row"), live, last).Fixf("VACUUM %s;", table)
		return nil
	})
	if err != nil {
		return fmt.Errorf("count dead rows: %w", err)
	}
	if !found {
		e.Addf(OK, "Daymill's tables have few dead rows")
	}
	return nil
}

// How many transactions old the oldest row may be. Postgres refuses to write at 2,100 million.
const (
	ageWarning = 1_000_000_000
	ageFailure = 1_800_000_000
)

func checkWraparound(ctx context.Context, e *Examination, tx pgx.Tx) error {
	var age int64
	err := tx.QueryRow(ctx, "SELECT age(d.datfrozenxid) FROM pg_catalog.pg_database AS d WHERE d.datname = current_database()").Scan(&age)
	if err != nil {
		return fmt.Errorf("read the age of the oldest row: %w", err)
	}
	e.gradeAge(age)
	return nil
}

func (e *Examination) gradeAge(age int64) {
	switch {
	case age > ageFailure:
		e.Addf(Failure, "the oldest row is %d million transactions old: Postgres refuses all writes soon", age/1_000_000).Fixf("VACUUM;")
	case age > ageWarning:
		e.Addf(Warning, "the oldest row is %d million transactions old: vacuum does not keep up", age/1_000_000).Fixf("VACUUM;")
	case age < 1_000_000:
		e.Addf(OK, "the oldest row is less than a million transactions old: transaction numbers are far from running out")
	default:
		e.Addf(OK, "the oldest row is %d million transactions old: transaction numbers are far from running out", age/1_000_000)
	}
}

// literal quotes a text for SQL that a person will copy.
func literal(text string) string {
	quoted := make([]byte, 0, len(text)+2)
	quoted = append(quoted, '\'')
	for i := range len(text) {
		if text[i] == '\'' {
			quoted = append(quoted, '\'')
		}
		quoted = append(quoted, text[i])
	}
	return string(append(quoted, '\''))
}
