package restore_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/capture/wal"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// besideCapture: archive and capture read the same database, each through a slot of its own. Each survives when the other is removed.
func besideCapture(t *testing.T, server *pgserver.Server) {
	t.Helper()
	b := &testBundle{server: server, db: pgtest.On(t, server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})}
	b.psql(t, "-c", "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, v int)")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	owner := stream.Owner{
		DB: b.db.DB, Source: b.db.DB, SourceURL: b.db.URL, Name: "beside", Mode: wal.Mode, Tables: []string{"app"}, Process: "a test",
		Beat: 200 * time.Millisecond, Look: 200 * time.Millisecond, Poll: 5 * time.Millisecond,
	}
	go func() { done <- owner.Run(ctx) }()
	is := func(query string) bool {
		return b.value(t, b.db.URL, "SELECT coalesce(("+query+"), false)::text") == "true"
	}
	wait := func(query string) {
		t.Helper()
		require.Eventually(t, func() bool { return is(query) }, 2*time.Minute, 20*time.Millisecond, query)
	}
	wait("SELECT state = 'running' AND beat_at IS NOT NULL FROM capture.stream")
	write := func(from string) {
		t.Helper()
		b.psql(t, "-c", "INSERT INTO app.t SELECT i, 0 FROM generate_series("+from+", "+from+" + 9) AS i", "-c", "UPDATE app.t SET v = v + 1 WHERE id >= "+from,
			"-c", "DELETE FROM app.t WHERE id = "+from)
	}
	// captured requires that the log has each change of so many rounds once.
	captured := func(rounds string) {
		t.Helper()
		wait("SELECT count(*) >= 21 * " + rounds + " FROM capture.log")
		require.True(t, is("SELECT count(*) FILTER (WHERE op = 'insert') = 10 * "+rounds+" AND count(*) FILTER (WHERE op = 'update') = 10 * "+rounds+
			" AND count(*) FILTER (WHERE op = 'delete') = "+rounds+" FROM capture.log"))
	}
	b.begin(t)
	stop := b.run(t, 0)
	write("100")
	b.caughtUp(t)
	stop()
	require.NoError(t, base.Remove(t.Context(), b.db.DB, b.slot(t)))
	write("200")
	captured("2")

	b.begin(t)
	stop = b.run(t, 0)
	write("300")
	captured("3")
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	slot := b.value(t, b.db.URL, "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database() AND slot_name NOT LIKE 'archive%'")
	require.NoError(t, wal.DropSlot(t.Context(), b.db.DB, slot))
	require.NoError(t, wal.Unpublish(t.Context(), b.db.DB, slot))
	write("400")
	b.caughtUp(t)
	stop()
	// pg_dump writes the condition of one of Daymill's triggers with other parentheses when it has been restored once.
	b.equalRows(t, b.restored(t, restore.Config{}))
}

// equalRows compares the source's rows with those of a restored database.
func (b *testBundle) equalRows(t *testing.T, into string) {
	t.Helper()
	rows := func(url string) []string {
		lines := slices.DeleteFunc(strings.Split(dump(t, url, "--data-only", "--inserts"), "\n"), func(line string) bool { return !strings.HasPrefix(line, "INSERT") })
		slices.Sort(lines)
		return lines
	}
	want := rows(b.db.URL)
	require.NotEmpty(t, want)
	require.Equal(t, want, rows(into))
}

// roleMadeLater: Postgres fires no event trigger for CREATE ROLE, but later statements need the role.
func roleMadeLater(t *testing.T, b *testBundle) {
	t.Helper()
	stop := b.run(t, 0)
	b.psql(t, "-c", "CREATE ROLE archive_newcomer NOINHERIT; CREATE TABLE t (i int); GRANT SELECT ON t TO archive_newcomer; INSERT INTO t VALUES (1)",
		"-c", "CREATE SCHEMA theirs AUTHORIZATION archive_newcomer", "-c", "SET ROLE archive_newcomer; CREATE TABLE theirs.u AS SELECT 1 AS i")
	b.caughtUp(t)
	stop()
	const owner = "SELECT r.rolname || ' ' || r.rolinherit || ' ' || r.rolcanlogin FROM pg_roles AS r INNER JOIN pg_class AS c ON c.relowner = r.oid WHERE c.oid = 'theirs.u'::regclass"
	require.Equal(t, "archive_newcomer false false", b.value(t, b.db.URL, owner))
	b.psql(t, "-c", "DROP OWNED BY archive_newcomer; DROP ROLE archive_newcomer")
	require.Equal(t, "archive_newcomer false false", b.value(t, b.restored(t, restore.Config{}), owner))
}

// memberLater: nor does it for GRANT role TO role, but later statements of a member need the rights of the role. A restore does not leave it a member.
func memberLater(t *testing.T, b *testBundle) {
	t.Helper()
	b.psql(t, "-c", "CREATE ROLE archive_member; CREATE ROLE archive_outer; CREATE ROLE archive_inner; CREATE SCHEMA ours AUTHORIZATION archive_inner",
		"-c", "GRANT archive_inner TO archive_outer; GRANT archive_outer TO archive_member",
		"-c", "SET ROLE archive_member; CREATE TABLE ours.v AS SELECT 1 AS i; CREATE TABLE ours.w (i int); ALTER TABLE ours.w OWNER TO archive_inner; RESET ROLE",
		"-c", "REVOKE archive_inner FROM archive_outer; REVOKE archive_outer FROM archive_member; INSERT INTO ours.w VALUES (1)")
	stop := b.run(t, 0)
	b.caughtUp(t)
	stop()
	b.equal(t, b.restored(t, restore.Config{}))
	into := b.fresh(t)
	b.script(t, into)
	b.equal(t, into)
	const members = "SELECT count(*)::text FROM pg_auth_members AS m WHERE m.member IN ('archive_member'::regrole, 'archive_outer'::regrole)"
	require.Equal(t, "0", b.value(t, into, members))
}

// superuserLater: nor does it for ALTER ROLE, but later statements need the rights of a superuser. A restore does not leave the role one.
func superuserLater(t *testing.T, b *testBundle) {
	t.Helper()
	b.psql(t, "-c", "CREATE ROLE archive_risen; GRANT CREATE ON SCHEMA public TO archive_risen")
	stop := b.run(t, 0)
	b.psql(t, "-c", "ALTER ROLE archive_risen SUPERUSER; SET ROLE archive_risen; CREATE FUNCTION quiet(i int) RETURNS int LANGUAGE sql LEAKPROOF AS 'SELECT i'",
		"-c", "CREATE TABLE t AS SELECT quiet(1) AS i", "-c", "ALTER ROLE archive_risen NOSUPERUSER")
	b.caughtUp(t)
	stop()
	b.equal(t, b.restored(t, restore.Config{}))
	into := b.fresh(t)
	b.script(t, into)
	b.equal(t, into)
	require.Equal(t, "false", b.value(t, into, "SELECT rolsuper::text FROM pg_roles WHERE rolname = 'archive_risen'"))
}

// ownDatabase: the application owns the database, or may create schemas in it. The database that is restored into belongs to another role.
func ownDatabase(t *testing.T, b *testBundle) {
	t.Helper()
	b.psql(t, "-c", `CREATE ROLE archive_application; CREATE ROLE archive_creator; DO $$ BEGIN
			EXECUTE format('ALTER DATABASE %I OWNER TO archive_application', current_database());
			EXECUTE format('GRANT CREATE ON DATABASE %I TO archive_creator', current_database());
		END $$`,
		"-c", "SET ROLE archive_application; CREATE TABLE public.t AS SELECT 1 AS i; CREATE SCHEMA ours; CREATE TABLE ours.u (i int); RESET ROLE",
		"-c", "SET ROLE archive_creator; CREATE SCHEMA theirs; CREATE TABLE theirs.v AS SELECT 1 AS i")
	stop := b.run(t, 0)
	b.caughtUp(t)
	stop()
	const owner = "SELECT d.datdba::regrole::text || coalesce(d.datacl, acldefault('d', d.datdba))::text FROM pg_database AS d WHERE d.datname = current_database()"
	into := b.fresh(t)
	before := b.value(t, into, owner)
	b.script(t, into)
	b.equal(t, into)
	require.Equal(t, before, b.value(t, into, owner))
	b.equal(t, b.restored(t, restore.Config{}))
}
