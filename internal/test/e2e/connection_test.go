package e2e_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// testFollower reads events from a follower that is behind: the run waits for everything that was committed when it was requested.
func testFollower(t *testing.T, binary string) {
	t.Helper()
	server := pgtest.Server(t, nil)
	b := prepare(t, pgtest.On(t, server, installed), binary)
	follower, err := server.Follower(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, follower.Close()) })
	b.worker(t, "--source-url", follower.URL(b.db.Name))
	b.request(t, day)
	b.awaitComplete(t, day)

	replay, err := pgx.Connect(t.Context(), follower.URL(b.db.Name))
	require.NoError(t, err)
	t.Cleanup(func() { _ = replay.Close(t.Context()) }) // The error does not matter.
	_, err = replay.Exec(t.Context(), "SELECT pg_wal_replay_pause()")
	require.NoError(t, err)
	require.NoError(t, pgx.BeginFunc(t.Context(), b.db, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO public.raw_events (entity_id, event_type, created_at)
			SELECT i, 'view', '2026-03-01 12:00+00' FROM generate_series(1, 10) AS i`)
		if err == nil {
			_, err = tx.Exec(t.Context(), "SELECT analytics.enqueue_rollup($1)", day)
		}
		return err
	}))
	b.db.Wait(t, `EXISTS(SELECT FROM analytics.rollup_runs AS r INNER JOIN analytics.rollup_dates AS d ON d.run_id = r.id
		WHERE r.state = 'running' AND d.heartbeat_at > r.started_at + interval '2 seconds')`)
	require.Equal(t, []string{"running scan 0"},
		pgtest.Column[string](t, b.db, "SELECT concat_ws(' ', state, phase, slices) FROM analytics.rollup_runs WHERE state <> 'complete'"))
	_, err = replay.Exec(t.Context(), "SELECT pg_wal_replay_resume()")
	require.NoError(t, err)
	b.db.Wait(t, "NOT EXISTS(SELECT FROM analytics.rollup_requests WHERE resolved_at IS NULL)")
	require.EqualValues(t, events+10, pgtest.RequireExact(t, b.db, day).Events)
	require.Equal(t, []string{"complete", "complete"}, b.runStates(t, day))
}

// testFollowerOfNothing uses a source that is not a follower, and one that does not exist.
func testFollowerOfNothing(t *testing.T, binary string) {
	t.Helper()
	b := prepare(t, pgtest.Database(t, installed), binary)
	const message = "the source is not a follower of the database: set --source-url to the URL of a read replica, or leave it out"
	output, code := b.run(t, "rollup", "2026-03-01", "--database-url", b.db.URL, "--source-url", b.db.URL)
	require.Equal(t, 1, code, output)
	require.Contains(t, output, message)

	worker := b.worker(t, "--source-url", b.db.URL)
	b.db.Wait(t, "EXISTS(SELECT FROM river_job WHERE kind = 'rollup_day' AND cardinality(coalesce(errors, '{}')) > 0)")
	require.Contains(t, pgtest.Value[string](t, b.db, "SELECT errors[1] ->> 'error' FROM river_job WHERE kind = 'rollup_day'"), message)
	require.True(t, worker.running())

	output, code = b.run(t, "worker", "--database-url", b.db.URL, "--source-url", "postgres://nobody:secret@127.0.0.1:1/x?sslmode=disable")
	require.Equal(t, 3, code, output)
	require.Contains(t, output, "open source: the database cannot be reached at 127.0.0.1:1")
	require.NotContains(t, output, "secret")
}

// testIdleCost counts the transactions of a worker that has nothing to do, including River's own.
func testIdleCost(t *testing.T, binary string) {
	t.Helper()
	b := prepare(t, pgtest.Database(t, installed), binary)
	b.worker(t)
	b.db.Wait(t, "EXISTS(SELECT FROM river_leader)")
	// Use another database, so that the test's own transactions are not counted.
	conn, err := pgx.Connect(t.Context(), b.db.Server.URL("postgres"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) }) // The error does not matter.
	commits := func() (n int64) {
		err := conn.QueryRow(t.Context(), "SELECT xact_commit FROM pg_stat_database WHERE datname = $1", b.db.Name).Scan(&n)
		require.NoError(t, err)
		return n
	}
	// A leader has much to do at first, so use its first six quiet seconds.
	const window, most = 6 * time.Second, 36
	begun, start := time.Now(), commits()
	require.Eventually(t, func() bool {
		if commits() > start+most {
			begun, start = time.Now(), commits()
		}
		return time.Since(begun) > window
	}, patience, 20*time.Millisecond, "it should be four to six a second")
	require.Greater(t, commits(), start+6, "it is alive")
}

// openAs returns a database that the test opens with its own URL.
func openAs(t *testing.T, server *pgserver.Server, name, url string) *pgtest.DB {
	t.Helper()
	conn, err := postgres.Open(t.Context(), postgres.Config{URL: url, PoolSize: 1})
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	db := pgtest.As(t, server, name, url, conn, 1)
	db.Installation, err = schema.Get(t.Context(), conn)
	require.NoError(t, err)
	return db
}

// testMaxConnections uses a small Postgres, and a role that has rights only on its own database.
func testMaxConnections(t *testing.T, binary string) {
	t.Helper()
	server := pgtest.Server(t, map[string]string{"max_connections": "12", "max_wal_senders": "0"})
	admin, err := pgx.Connect(t.Context(), server.URL("postgres"))
	require.NoError(t, err)
	_, err = admin.Exec(t.Context(), "CREATE ROLE plain LOGIN")
	require.NoError(t, err)
	_, err = admin.Exec(t.Context(), "CREATE DATABASE shop OWNER plain")
	require.NoError(t, err)
	require.NoError(t, admin.Close(t.Context()))
	url := strings.Replace(server.URL("shop"), "//"+pgserver.Superuser+"@", "//plain@", 1)
	output, code := (&testBundle{binary: binary}).run(t, "migrate", "--database-url", url, "--entity-type", "bigint")
	require.Zero(t, code, output)

	b := prepare(t, openAs(t, server, "shop", url), binary)
	b.worker(t, "--pool-size", "1")
	b.request(t, day, day.AddDays(1))
	b.awaitComplete(t, day, day.AddDays(1))
	require.LessOrEqual(t, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'daymill %'"), int64(7))
}

// testPgBouncer works through a pooler in transaction mode, beginning with the migration. Nobody can listen there, but requests are noticed all
// the same.
func testPgBouncer(t *testing.T, binary string) {
	t.Helper()
	direct := pgtest.Empty(t)
	url := pgtest.PgBouncer(t, direct)
	output, code := (&testBundle{binary: binary}).run(t, "migrate", "--database-url", url, "--entity-type", "bigint")
	require.Zero(t, code, output)
	require.Contains(t, output, "applied 0001_installation")
	output, code = (&testBundle{binary: binary}).run(t, "migrate", "--database-url", url)
	require.Zero(t, code, output)
	require.Contains(t, output, "nothing to do")

	var err error
	direct.Installation, err = schema.Get(t.Context(), direct.DB)
	require.NoError(t, err)
	b := prepare(t, direct, binary)
	b.db.URL = url
	// River's own statements have the database's settings.
	for _, setting := range []string{
		"search_path = nowhere", "default_transaction_isolation = serializable", "DateStyle = German", "TimeZone = 'Asia/Kathmandu'",
		"standard_conforming_strings = off", "bytea_output = escape", "quote_all_identifiers = on",
	} {
		b.db.Do(t, "ALTER DATABASE "+direct.Name+" SET "+setting)
	}
	b.hold(t, day)
	worker := b.worker(t)
	b.request(t, day, day.AddDays(1))
	b.awaitHeld(t, day)
	// A request arrives while its date is being rolled up, and the run has passed the entity.
	b.db.Do(t, "INSERT INTO public.raw_events (entity_id, event_type, created_at) VALUES (-9223372036854775808, 'view', '2026-03-01 12:00+00')")
	b.request(t, day)
	b.release(t)
	b.db.Wait(t, "NOT EXISTS(SELECT FROM analytics.rollup_requests WHERE resolved_at IS NULL)")
	require.EqualValues(t, 2*events+1, pgtest.RequireExact(t, b.db, day, day.AddDays(1)).Events)
	require.Contains(t, worker.log.String(), "pooler=true")
	require.Zero(t, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'listen %' AND datname = current_database()"))
	b.request(t, day.AddDays(2))
	b.awaitComplete(t, day.AddDays(2))

	output, code = b.run(t, "rollup", "2026-03-01", "--database-url", url)
	require.Zero(t, code, output)
}

// testSSL works on a Postgres that is reached with sslmode=require.
func testSSL(t *testing.T, binary string) {
	t.Helper()
	certificate, key := selfSigned(t)
	binaries, err := pgserver.Find(t.Context())
	require.NoError(t, err)
	settings := pgserver.Throwaway()
	maps.Copy(settings, map[string]string{"ssl": "on", "autovacuum": "off"})
	server, err := pgserver.Start(t.Context(), pgserver.Config{
		Binaries: binaries, Settings: settings, InMemory: true,
		Files: map[string][]byte{
			"server.crt": certificate, "server.key": key,
			"pg_hba.conf": []byte("hostssl all all 127.0.0.1/32 trust\n"),
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	required := func(database string) string {
		return strings.Replace(server.URL(database), "sslmode=disable", "sslmode=require", 1)
	}
	admin, err := pgx.Connect(t.Context(), required("postgres"))
	require.NoError(t, err)
	_, err = admin.Exec(t.Context(), "CREATE DATABASE shop")
	require.NoError(t, err)
	require.NoError(t, admin.Close(t.Context()))

	output, code := (&testBundle{binary: binary}).run(t, "migrate", "--database-url", server.URL("shop"))
	require.Equal(t, 3, code, output)
	output, code = (&testBundle{binary: binary}).run(t, "migrate", "--database-url", required("shop"), "--entity-type", "bigint")
	require.Zero(t, code, output)

	b := prepare(t, openAs(t, server, "shop", required("shop")), binary)
	b.worker(t)
	b.request(t, day)
	b.awaitComplete(t, day)
	require.Equal(t, []bool{true}, pgtest.Column[bool](t, b.db, `SELECT DISTINCT s.ssl FROM pg_stat_ssl AS s
		INNER JOIN pg_stat_activity AS a ON a.pid = s.pid WHERE a.application_name = 'daymill worker'`))
}

// selfSigned returns a self-signed certificate and its key.
func selfSigned(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	var certificatePEM, keyPEM bytes.Buffer
	require.NoError(t, pem.Encode(&certificatePEM, &pem.Block{Type: "CERTIFICATE", Bytes: der}))
	require.NoError(t, pem.Encode(&keyPEM, &pem.Block{Type: "PRIVATE KEY", Bytes: privateDER}))
	return certificatePEM.Bytes(), keyPEM.Bytes()
}
