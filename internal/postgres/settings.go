package postgres

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// settings returns the settings of each connection, or of each transaction behind a pooler. They take precedence over those
// of the database, the role and the URL. All other settings stay the user's choice.
func (config *Config) settings() map[string]string {
	return map[string]string{
		"statement_timeout":                   milliseconds(cmp.Or(config.StatementTimeout, DefaultStatementTimeout)),
		"lock_timeout":                        milliseconds(cmp.Or(config.LockTimeout, DefaultLockTimeout)),
		"idle_in_transaction_session_timeout": milliseconds(time.Minute),
		"idle_session_timeout":                "0", // The pool closes idle connections.
		"transaction_timeout":                 "0", // Statements have their own limits.

		// A slice's plan depends on its bounds and is cheap to make. JIT compilation and parallel workers would cost the
		// application more than they save. Short statements need the indexes.
		"plan_cache_mode":                 "force_custom_plan",
		"jit":                             "off",
		"max_parallel_workers_per_gather": "0",
		"enable_bitmapscan":               "on",
		"enable_indexonlyscan":            "on",
		"enable_indexscan":                "on",
		"enable_partition_pruning":        "on",
		"cursor_tuple_fraction":           "0.1",

		// Transactions write, and see what others commit meanwhile.
		"default_transaction_isolation":  "read committed",
		"default_transaction_read_only":  "off",
		"default_transaction_deferrable": "off",

		// Text formats do not depend on the user's settings, and a function of the same name in another schema is never
		// called.
		"search_path":                      SearchPath,
		"client_encoding":                  "UTF8",
		"TimeZone":                         "UTC",
		"DateStyle":                        "ISO, MDY",
		"IntervalStyle":                    "postgres",
		"bytea_output":                     "hex",
		"extra_float_digits":               "1",
		"standard_conforming_strings":      "on",
		"quote_all_identifiers":            "off",
		"array_nulls":                      "on",
		"transform_null_equals":            "off",
		"exit_on_error":                    "off",
		"restrict_nonsystem_relation_kind": "",
	}
}

// known removes the settings that this server does not have, and returns the server's process id. It works whatever the
// session's settings are.
func known(ctx context.Context, conn *pgx.Conn, settings map[string]string) (pid string, err error) {
	// The database's own timeout may be too short. Behind a pooler, only a transaction may change it.
	if _, err := conn.PgConn().Exec(ctx, "BEGIN; SET LOCAL statement_timeout = 5000").ReadAll(); err != nil {
		return "", err
	}
	answers, err := conn.PgConn().Exec(ctx,
		"SELECT s.name FROM pg_catalog.pg_settings AS s; SELECT pg_catalog.pg_backend_pid(); ROLLBACK").ReadAll()
	if err != nil {
		return "", err
	}
	names := map[string]bool{}
	for _, row := range answers[0].Rows {
		names[string(row[0])] = true
	}
	maps.DeleteFunc(settings, func(name, _ string) bool { return !names[name] })
	return string(answers[1].Rows[0][0]), nil
}

// assign returns SQL that makes settings: for the transaction if local, otherwise for the session. The SQL has no parameters,
// so it can be sent together with other statements, and it only calls functions of pg_catalog.
func assign(settings map[string]string, local bool) string {
	var sql strings.Builder
	for i, name := range slices.Sorted(maps.Keys(settings)) {
		sql.WriteString([]string{"SELECT ", ", "}[min(i, 1)])
		fmt.Fprintf(&sql, "pg_catalog.set_config('%s', '%s', %t)", name, strings.ReplaceAll(settings[name], "'", "''"), local)
	}
	return sql.String()
}

// Local is settings of one transaction, or of one savepoint.
type Local map[string]string

// SQL returns SQL that makes the settings, without parameters, for statements that are sent together.
func (l Local) SQL() string { return assign(l, true) }

// SetLocal makes settings until the transaction ends, such as a lock_timeout. Statements that only need a
// limit go through [Session], which also retries them.
func SetLocal(ctx context.Context, tx pgx.Tx, settings Local) error {
	if _, err := tx.Exec(ctx, settings.SQL()); err != nil {
		return fmt.Errorf("make settings: %w", err)
	}
	return nil
}

// Durable makes the commit of a transaction wait for the local disk, even if synchronous_commit is off for the server, the database or the
// role. It is for what others rely on after the commit: a crash must not take it back.
func Durable(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, "SELECT pg_catalog.set_config('synchronous_commit', 'local', true) WHERE pg_catalog.current_setting('synchronous_commit') = 'off'")
	if err != nil {
		return fmt.Errorf("make settings: %w", err)
	}
	return nil
}

// execer is implemented by connections and transactions.
type execer interface {
	Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error)
}

// set changes settings of the session.
func set(ctx context.Context, on execer, settings map[string]string) error {
	// The timeout comes first and in a statement of its own, because the old one may be too short for the rest. Postgres times each of several
	// statements that it receives together.
	_, err := on.Exec(ctx, "SET statement_timeout = "+settings["statement_timeout"]+"; "+assign(settings, false), pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return fmt.Errorf("make settings: %w", err)
	}
	return nil
}

// steady reports whether a session still has its settings. Postgres reports changes of some settings, and RESET ALL resets
// them all.
func steady(conn *pgx.Conn) bool {
	for name, value := range map[string]string{
		"TimeZone": "UTC", "IntervalStyle": "postgres", "standard_conforming_strings": "on", "client_encoding": "UTF8",
		"default_transaction_read_only": "off",
	} {
		if is := conn.PgConn().ParameterStatus(name); is != "" && is != value {
			return false
		}
	}
	return true
}
