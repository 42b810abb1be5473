package pgserver_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pgserver"
)

func TestAt(t *testing.T) {
	t.Parallel()

	program := func(t *testing.T, version string) string {
		t.Helper()
		dir := t.TempDir()
		for _, name := range []string{"initdb", "postgres"} {
			script := "#!/bin/sh\necho '" + version + "'\n"
			// A process that is started in the meantime would inherit the open file, and a file that is open cannot be executed.
			syscall.ForkLock.RLock()
			err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700)
			syscall.ForkLock.RUnlock()
			require.NoError(t, err)
		}
		return dir
	}

	t.Run("Beta", func(t *testing.T) {
		t.Parallel()
		dir := program(t, "postgres (PostgreSQL) 18beta1 (Debian)")
		found, err := pgserver.At(t.Context(), dir)
		require.NoError(t, err)
		require.Equal(t, pgserver.Binaries{Dir: dir, Version: "18beta1", Major: 18}, found)
	})
	t.Run("NotThere", func(t *testing.T) {
		t.Parallel()
		_, err := pgserver.At(t.Context(), t.TempDir())
		require.ErrorContains(t, err, "there is no Postgres server in ")
	})
	t.Run("TooOld", func(t *testing.T) {
		t.Parallel()
		_, err := pgserver.At(t.Context(), program(t, "postgres (PostgreSQL) 13.4"))
		require.ErrorContains(t, err, "is version 13.4: 14 or later is needed")
	})
}

func start(t *testing.T, config pgserver.Config) *pgserver.Server {
	t.Helper()
	var err error
	config.Binaries, err = pgserver.Find(t.Context())
	require.NoError(t, err)
	server, err := pgserver.Start(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return server
}

func connect(t *testing.T, server *pgserver.Server) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.URL("postgres"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // The server may be gone.
	return conn
}

func execute(t *testing.T, server *pgserver.Server, sql string) {
	t.Helper()
	_, err := connect(t, server).Exec(t.Context(), sql)
	require.NoError(t, err)
}

func query(t *testing.T, server *pgserver.Server, sql string) string {
	t.Helper()
	var text string
	require.NoError(t, connect(t, server).QueryRow(t.Context(), sql).Scan(&text))
	return text
}

func TestServer(t *testing.T) {
	t.Parallel()

	t.Run("ErrorCarriesTheLog", func(t *testing.T) {
		t.Parallel()
		binaries, err := pgserver.Find(t.Context())
		require.NoError(t, err)
		_, err = pgserver.Start(t.Context(), pgserver.Config{Binaries: binaries, Settings: map[string]string{"no_such_setting": "on"}})
		require.ErrorContains(t, err, `unrecognized configuration parameter "no_such_setting"`)
	})
	t.Run("FollowerStreams", func(t *testing.T) {
		t.Parallel()
		server := start(t, pgserver.Config{Settings: pgserver.Throwaway()})
		follower, err := server.Follower(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, follower.Close()) })

		require.NotEqual(t, server.Port, follower.Port)
		require.Equal(t, "true", query(t, follower, "SELECT pg_is_in_recovery()::text"))
		execute(t, server, "CREATE TABLE followed ()")
		lsn := query(t, server, "SELECT pg_current_wal_insert_lsn()::text")
		require.Eventually(t, func() bool {
			return query(t, follower, "SELECT (pg_last_wal_replay_lsn() >= '"+lsn+"')::text") == "true"
		}, 10*time.Second, 10*time.Millisecond)
		require.Equal(t, "followed", query(t, follower, "SELECT 'followed'::regclass::text"))
	})
	t.Run("KeepsAGivenDirectory", func(t *testing.T) {
		t.Parallel()
		// If root runs the tests, the server's user cannot access t.TempDir.
		dir, err := os.MkdirTemp("", "daymill-pg-test-") //nolint:usetesting // See above.
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })

		server := start(t, pgserver.Config{Dir: dir, Settings: map[string]string{"work_mem": "5MB"}})
		identifier := query(t, server, "SELECT system_identifier::text FROM pg_control_system()")
		require.Equal(t, "5MB", query(t, server, "SHOW work_mem"))
		require.NoError(t, server.Close())
		require.FileExists(t, server.LogFile())

		server = start(t, pgserver.Config{Dir: dir, Settings: map[string]string{"work_mem": "6MB"}})
		require.Equal(t, identifier, query(t, server, "SELECT system_identifier::text FROM pg_control_system()"))
		require.Equal(t, "6MB", query(t, server, "SHOW work_mem"))
	})
	t.Run("RemovesATemporaryDirectory", func(t *testing.T) {
		t.Parallel()
		server := start(t, pgserver.Config{})
		require.DirExists(t, server.DataDir())
		require.NoError(t, server.Close())
		require.NoDirExists(t, filepath.Dir(server.DataDir()))
	})
	t.Run("InMemory", func(t *testing.T) {
		t.Parallel()
		server := start(t, pgserver.Config{InMemory: true, Settings: pgserver.Throwaway()})
		follower, err := server.Follower(t.Context())
		require.NoError(t, err)
		for _, s := range []*pgserver.Server{server, follower} {
			require.Equal(t, s.InMemory, strings.HasPrefix(s.DataDir(), "/dev/shm/"))
			require.Equal(t, server.InMemory, s.InMemory)
			require.NoError(t, s.Close())
			require.NoDirExists(t, filepath.Dir(s.DataDir()))
		}
		require.False(t, start(t, pgserver.Config{}).InMemory)
		require.Equal(t, pgserver.MemoryDir(pgserver.Room) != "", server.InMemory)
		require.Equal(t, runtime.GOOS == "linux", pgserver.MemoryDir(1) != "")
		require.Empty(t, pgserver.MemoryDir(1<<60))
	})
	t.Run("StartsAgainAfterACrash", func(t *testing.T) {
		t.Parallel()
		server := start(t, pgserver.Config{})
		execute(t, server, "CREATE TABLE survivor ()")
		port := server.Port
		require.NoError(t, server.Stop(t.Context(), pgserver.Immediate))
		require.False(t, server.Running())
		_, err := pgx.Connect(t.Context(), server.URL("postgres"))
		require.ErrorContains(t, err, "connection refused")

		require.NoError(t, server.Start(t.Context()))
		require.Equal(t, port, server.Port)
		require.Equal(t, "survivor", query(t, server, "SELECT 'survivor'::regclass::text"))
		log, err := os.ReadFile(server.LogFile())
		require.NoError(t, err)
		require.Contains(t, string(log), "database system was not properly shut down")
	})
	t.Run("WaitsForItsPort", func(t *testing.T) {
		t.Parallel()
		server := start(t, pgserver.Config{})
		require.NoError(t, server.Stop(t.Context(), pgserver.Fast))
		var config net.ListenConfig
		squatter, err := config.Listen(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(server.Port))
		require.NoError(t, err)
		go func() { // Release the port once the server has found it taken.
			defer squatter.Close()
			for t.Context().Err() == nil {
				log, err := os.ReadFile(server.LogFile())
				if err != nil || bytes.Contains(log, []byte("could not bind")) {
					return
				}
			}
		}()
		require.NoError(t, server.Start(t.Context()))
		require.Equal(t, "1", query(t, server, "SELECT '1'"))
	})
}

// ownerEnv turns this test binary into the process that starts a cluster and is killed.
const ownerEnv = "DAYMILL_TEST_OWNER"

func TestServerDiesWithItsOwner(t *testing.T) {
	t.Parallel()
	if os.Getenv(ownerEnv) != "" {
		server := start(t, pgserver.Config{})
		require.NoError(t, syscall.Kill(server.PID(), 0))
		_, err := os.Stdout.WriteString("pid " + strconv.Itoa(server.PID()) + " " + server.DataDir() + "\n")
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
	}

	owner := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$")
	owner.Env = append(os.Environ(), ownerEnv+"=1")
	output, err := owner.Output()
	require.ErrorContains(t, err, "signal: killed")
	fields := strings.Fields(string(output))
	require.Len(t, fields, 3, "%s", output)
	pid, err := strconv.Atoi(fields[1])
	require.NoError(t, err)
	require.Eventually(t, func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH }, 2*time.Minute, 20*time.Millisecond)
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Dir(fields[2]))
		return os.IsNotExist(err)
	}, 2*time.Minute, 20*time.Millisecond)
}
