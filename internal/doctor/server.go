package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/text"
)

// The versions of Postgres that Daymill's tests run on.
const (
	oldestMajor = 14
	newestMajor = 18
)

func checkVersion(ctx context.Context, e *Examination, tx pgx.Tx) error {
	var number int
	var text string
	err := tx.QueryRow(ctx, `
		SELECT current_setting('server_version_num')::integer, current_setting('server_version'),
			quote_ident(current_user), quote_ident(current_database())`).Scan(&number, &text, &e.role, &e.database)
	if err != nil {
		return fmt.Errorf("read the version: %w", err)
	}
	e.gradeVersion(number/10_000, text)
	return nil
}

func (e *Examination) gradeVersion(major int, text string) {
	switch {
	case major < oldestMajor:
		e.Addf(Failure, "Postgres %s lacks what Daymill needs: %d is the oldest that is supported", text, oldestMajor).
			Fixf("upgrade the server to Postgres %d or later", oldestMajor)
	case major > newestMajor:
		e.Addf(Note, "Postgres %s is newer than %d, the newest that this daymill was tested on", text, newestMajor)
	default:
		e.Addf(OK, "Postgres %s is supported", text)
	}
}

// checkPrimary fails for a server that accepts no writes. It warns if transactions are read-only by default, as some providers set for
// a full database, although Daymill's own transactions override that.
func checkPrimary(ctx context.Context, e *Examination, tx pgx.Tx) error {
	var recovery, readOnly bool
	err := tx.QueryRow(ctx, `SELECT pg_catalog.pg_is_in_recovery(), EXISTS (
		SELECT 1
		FROM pg_catalog.pg_db_role_setting AS s, unnest(s.setconfig) AS c
		WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database()))
			AND s.setrole IN (0, current_user::regrole::oid)
			AND c IN ('default_transaction_read_only=on', 'default_transaction_read_only=true')
	)`).Scan(&recovery, &readOnly)
	switch {
	case err != nil:
		return fmt.Errorf("check whether it accepts writes: %w", err)
	case recovery:
		e.Addf(Failure, "the database is a follower: metrics cannot be written to it").
			Fixf("set DATABASE_URL to the primary, and DAYMILL_SOURCE_URL to this one")
	case readOnly:
		e.Addf(Warning, "transactions are read-only by default, which some providers set when the disk is full: Daymill still writes, "+
			"but the application cannot").
			Fixf("ALTER DATABASE %s RESET default_transaction_read_only;", e.database)
	default:
		e.Addf(OK, "the database is a primary and accepts writes")
	}
	return nil
}

// checkPooler also checks default_transaction_read_only, which applies to River's own statements behind a
// pooler: Daymill sets it in each of its own transactions, but River sends statements without one.
func checkPooler(ctx context.Context, e *Examination, tx pgx.Tx) error {
	if e.DB.Pooled() {
		var readOnly bool
		var fix string
		err := tx.QueryRow(ctx, `
			SELECT s.reset_val = 'on', pg_catalog.format('ALTER ROLE %I IN DATABASE %I SET default_transaction_read_only = off;', current_user, current_database())
			FROM pg_catalog.pg_settings AS s WHERE s.name = 'default_transaction_read_only'`).Scan(&readOnly, &fix)
		if err != nil {
			return err
		}
		if readOnly {
			e.Addf(Failure, "default_transaction_read_only is on: behind a pooler in transaction mode a worker cannot take jobs").Fixf("%s", fix)
		}
		e.Addf(Note, "a pooler in transaction mode is in use: without LISTEN, a worker sees a request within a second instead of at once; "+
			"there are no prepared statements and no session settings; everything else works").Fixf("give the worker a direct URL if that matters")
		return nil
	}
	e.Addf(OK, "no pooler in transaction mode is in use: workers see requests at once")
	return nil
}

// spare is how many connections a worker opens in addition to its pool: two that listen.
const spare = 2

// checkConnections checks whether enough connections are free for a worker.
func checkConnections(ctx context.Context, e *Examination, tx pgx.Tx) error {
	var most, reserved, used, roleLimit, roleUsed, databaseLimit, databaseUsed int
	var super bool
	err := tx.QueryRow(ctx, `
		SELECT
			current_setting('max_connections')::integer,
			current_setting('superuser_reserved_connections')::integer
				+ coalesce(current_setting('reserved_connections', true), '0')::integer,
			(SELECT count(*) FROM pg_catalog.pg_stat_activity AS a WHERE a.datid IS NOT NULL AND a.usesysid IS NOT NULL),
			r.rolconnlimit, r.rolsuper,
			(SELECT count(*) FROM pg_catalog.pg_stat_activity AS a WHERE a.usesysid = r.oid AND a.datid IS NOT NULL),
			d.datconnlimit,
			(SELECT count(*) FROM pg_catalog.pg_stat_activity AS a WHERE a.datid = d.oid AND a.usesysid IS NOT NULL)
		FROM pg_catalog.pg_roles AS r, pg_catalog.pg_database AS d
		WHERE r.rolname = current_user AND d.datname = current_database()`).
		Scan(&most, &reserved, &used, &roleLimit, &super, &roleUsed, &databaseLimit, &databaseUsed)
	if err != nil {
		return fmt.Errorf("count connections: %w", err)
	}
	free, of, fix := most-reserved-used, fmt.Sprintf("max_connections is %d", most), "raise max_connections, or run the worker with fewer --workers and a smaller --pool-size"
	if left := roleLimit - roleUsed; roleLimit >= 0 && !super && left < free {
		free, of, fix = left, fmt.Sprintf("the role may have %d", roleLimit), "ALTER ROLE "+e.role+" CONNECTION LIMIT -1;"
	}
	if left := databaseLimit - databaseUsed; databaseLimit >= 0 && !super && left < free {
		free, of, fix = left, fmt.Sprintf("the database may have %d", databaseLimit), "ALTER DATABASE "+e.database+" CONNECTION LIMIT -1;"
	}
	need := e.PoolSize + spare
	switch {
	case free <= spare:
		e.Addf(Failure, "%s left (%s): a worker, which opens up to %d, cannot start", text.Plural(int64(max(free, 0)), "connection"), of, need).Fixf("%s", fix)
	case free < need:
		e.Addf(Warning, "%s left (%s), and a worker opens up to %d, if none is running yet: runs fail without a connection",
			text.Plural(int64(free), "connection"), of, need).Fixf("%s", fix)
	default:
		e.Addf(OK, "%s left (%s), and a worker opens up to %d", text.Plural(int64(free), "connection"), of, need)
	}
	return nil
}

// checkTimeouts checks the time limits of the server, the database and the role. Daymill overrides most of them.
func checkTimeouts(ctx context.Context, e *Examination, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `
		SELECT s.name, s.reset_val::bigint
		FROM pg_catalog.pg_settings AS s
		WHERE s.name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout',
			'transaction_timeout') AND s.reset_val <> '0'
		ORDER BY s.name`)
	if err != nil {
		return fmt.Errorf("read the time limits: %w", err)
	}
	var name string
	var limit int64
	found := false
	_, err = pgx.ForEachRow(rows, []any{&name, &limit}, func() error {
		found = true
		e.gradeTimeout(name, time.Duration(limit)*time.Millisecond)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the time limits: %w", err)
	}
	if !found {
		e.Addf(OK, "neither the server nor the role limits sessions; only Daymill's own limits apply")
	}
	return nil
}

func (e *Examination) gradeTimeout(name string, limit time.Duration) {
	switch {
	case name == "idle_session_timeout" && limit < 10*time.Minute:
		e.Addf(Warning, "idle_session_timeout is %s: idle connections of the pool are cut off, including those that listen", limit).
			Fixf("ALTER ROLE %s SET idle_session_timeout = 0;", e.role)
	case name == "transaction_timeout" && limit < time.Minute:
		e.Addf(Warning, "transaction_timeout is %s: a batch that waits for a lock or a slow disk is cut off", limit).
			Fixf("ALTER ROLE %s SET transaction_timeout = 0;", e.role)
	default:
		e.Addf(Note, "%s is %s for this role: Daymill's sessions override it", name, limit)
	}
}

// checkReplication reports whether logical replication is available. The rollup does not need it.
func checkReplication(ctx context.Context, e *Examination, tx pgx.Tx) error {
	var level string
	var may bool
	var slots, used int
	err := tx.QueryRow(ctx, `
		SELECT current_setting('wal_level'), r.rolreplication OR r.rolsuper, current_setting('max_replication_slots')::integer,
			(SELECT count(*) FROM pg_catalog.pg_replication_slots)
		FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user`).Scan(&level, &may, &slots, &used)
	if err != nil {
		return fmt.Errorf("look at replication: %w", err)
	}
	switch {
	case level != "logical":
		e.Addf(Note, "logical replication is not available (wal_level is %s): capture uses triggers, and an archive needs wal_level = logical", level)
	case !may:
		e.Addf(Note, "this role may not replicate: capture uses triggers, and an archive needs that right")
	case used >= slots:
		e.Addf(Note, "all %d replication slots are taken: capture uses triggers, and an archive needs one: raise max_replication_slots", slots)
	default:
		e.Addf(OK, "logical replication is available, with %d of %d slots free: capture and the archive use it", slots-used, slots)
	}
	return nil
}

// checkExtensions reports which useful extensions are installed or available.
func checkExtensions(ctx context.Context, e *Examination, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `
		SELECT n.name, x.oid IS NOT NULL, a.name IS NOT NULL
		FROM unnest('{pg_cron,pg_stat_statements}'::text[]) AS n (name)
		LEFT JOIN pg_catalog.pg_extension AS x ON x.extname = n.name
		LEFT JOIN pg_catalog.pg_available_extensions AS a ON a.name = n.name
		ORDER BY n.name`)
	if err != nil {
		return fmt.Errorf("list extensions: %w", err)
	}
	use := map[string]string{
		"pg_cron":            "it can request rollups on your own schedule",
		"pg_stat_statements": "it shows what Daymill's statements cost beside the application's",
	}
	var name string
	var installed, available bool
	_, err = pgx.ForEachRow(rows, []any{&name, &installed, &available}, func() error {
		switch {
		case installed:
			e.Addf(OK, "the extension %s is installed: %s", name, use[name])
		case available:
			e.Addf(Note, "the extension %s is available: %s; Daymill needs none", name, use[name]).Fixf("CREATE EXTENSION %s;", name)
		default:
			e.Addf(Note, "the extension %s is not available; Daymill needs none", name)
		}
		return nil
	})
	return err
}
