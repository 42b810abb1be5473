package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// secret is part of all values here that must not be shown.
const secret = "hunter2"

// secrets returns the environment of a process with all secrets.
func secrets(databaseURL string) []string {
	env := []string{
		"DATABASE_URL=" + databaseURL, "DAYMILL_SOURCE_URL=", "DAYMILL_ADMIN_PASSWORD=admin-" + secret, "DAYMILL_VIEWER_PASSWORD=viewer-" + secret,
		"DAYMILL_API_TOKEN=api-" + secret, "CRON_SECRET=cron-" + secret, "DAYMILL_METRICS_TOKEN=metrics-" + secret,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:" + secret + "@127.0.0.1:1/v1", "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer " + secret,
		"OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_EXPORTER_OTLP_TIMEOUT=500", "DAYMILL_LOG_LEVEL=debug",
	}
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "DAYMILL_") && !strings.HasPrefix(variable, "PG") && !strings.HasPrefix(variable, "OTEL_") &&
			!strings.HasPrefix(variable, "DATABASE_URL=") && !strings.HasPrefix(variable, "PORT=") {
			env = append(env, variable)
		}
	}
	return env
}

// binary builds Daymill.
func binary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "daymill")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", pgtest.Root(t), "-buildvcs=false", "-o", path, "./cmd/daymill")
	text, err := build.CombinedOutput()
	require.NoError(t, err, string(text))
	return path
}

// TestSecrets runs the real binary in many failing situations, and checks all of its output.
func TestSecrets(t *testing.T) {
	t.Parallel()
	path := binary(t)
	binaries, err := pgserver.Find(t.Context())
	require.NoError(t, err)
	settings := pgserver.Throwaway()
	maps.Copy(settings, map[string]string{"autovacuum": "off"})
	server, err := pgserver.Start(t.Context(), pgserver.Config{
		Binaries: binaries, Settings: settings, InMemory: true, Files: map[string][]byte{
			"pg_hba.conf": []byte("host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"),
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	asSuperuser := func(t *testing.T, database string, statements ...string) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), server.URL(database))
		require.NoError(t, err)
		for _, sql := range statements {
			_, err = conn.Exec(t.Context(), sql)
			require.NoError(t, err)
		}
		require.NoError(t, conn.Close(t.Context()))
	}
	asSuperuser(t, "postgres", "CREATE ROLE shop LOGIN PASSWORD 'pass-"+secret+"'", "CREATE DATABASE shop OWNER shop")
	good := fmt.Sprintf("postgres://shop:pass-%s@127.0.0.1:%d/shop?sslmode=disable", secret, server.Port)
	wrong := fmt.Sprintf("postgres://shop:wrong-%s@127.0.0.1:%d/shop?sslmode=disable", secret, server.Port)

	// run runs a verb to its end and returns its output.
	run := func(t *testing.T, url string, args ...string) string {
		t.Helper()
		var output bytes.Buffer
		cmd := exec.CommandContext(t.Context(), path, args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = secrets(url), &output, &output
		_ = cmd.Run() // It is expected to fail.
		require.NotEmpty(t, output.String(), "%q", args)
		require.NotContains(t, output.String(), secret, "%q with %s", args, url)
		require.NotContains(t, output.String(), "goroutine", "%q with %s", args, url)
		return output.String()
	}

	t.Run("Addresses", func(t *testing.T) {
		t.Parallel()
		for _, url := range []string{
			wrong, "postgres://u:" + secret + "@127.0.0.1:1/x", "postgres://u:" + secret + "@nowhere.invalid/x",
			"host=127.0.0.1 port=1 user=u password=" + secret, "host=127.0.0.1 password='" + secret, "password=" + secret,
			"postgres://u:" + secret + "@[half", "postgres://u:" + secret + "@h/x?sslmode=bogus", "postgres://u:" + secret + "@h/x?connect_timeout=x",
			"postgres://u:" + secret + "@h/x?sslrootcert=/nowhere&sslmode=verify-full", "postgres://u:" + secret + "%zz@h/x", "postgres://u:" + secret + "@h:port/x",
			"://u:" + secret + "@h", "u:" + secret + "@h/x", "mysql://u:" + secret + "@h/x", "postgres://u:" + secret + "\x01@h/x", secret,
			"postgres://u:" + secret + "@h/x?pool_max_conns=x", "postgres:// u:" + secret + "@h/x",
		} {
			for _, args := range [][]string{{"status"}, {"worker", "--log-format", "json"}} {
				run(t, url, args...)
			}
		}
	})

	t.Run("Verbs", func(t *testing.T) {
		t.Parallel()
		for _, args := range [][]string{
			{"--help"},
			{"web", "--help"},
			{"worker", "--help"},
			{"migrate", "--help"},
			{"status", "--frobnicate"},
			{"status", "--pool-size", "x"},
			{"nonsense"},
			{"migrate"},
			{"migrate", "status"},
			{"doctor"},
			{"doctor", "--json"},
			{"serve"},
			{"web"},
			{"rollup", "2026-03-01"},
			{"verify"},
			{"enqueue", "2026-03-01"},
			{"backfill", "list"},
			{"import", "/nowhere"},
			{"source", "show"},
			{"source", "check"},
			{"version"},
			{"rollup", "2026-03-01", "--source-url", "postgres://u:" + secret + "@127.0.0.1:1/x"},
			{"worker", "--source-url", "postgres://u:" + secret + "@[half"},
		} {
			run(t, wrong, args...)
		}
	})

	t.Run("Process", func(t *testing.T) {
		t.Parallel()
		run(t, good, "migrate", "--entity-type", "bigint", "--river-schema", "daymill_river")
		asSuperuser(t, "shop", "GRANT CREATE ON SCHEMA public TO shop")
		run(t, good, "source", "create")
		run(t, good, "doctor", "--source-url", good)
		for _, format := range []string{"text", "json"} {
			asSuperuser(t, "shop", "INSERT INTO public.raw_events (entity_id, event_type, created_at) VALUES (1, 'view', now() - interval '1 day')",
				"SELECT analytics.enqueue_rollup(analytics.date_of(now()) - 1)")
			var log output
			cmd := exec.CommandContext(t.Context(), path, "serve", "--listen", "127.0.0.1:0", "--log-format", format, "--pace", "0")
			cmd.Env, cmd.Stdout, cmd.Stderr = secrets(good), &log, &log
			require.NoError(t, cmd.Start())
			ended := make(chan struct{})
			go func() {
				_ = cmd.Wait() // A signal ends it.
				close(ended)
			}()
			t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
			var found []string
			require.Eventually(t, func() bool {
				found = regexp.MustCompile(`(http://127\.0\.0\.1:\d+/)`).FindStringSubmatch(log.String())
				return found != nil
			}, waitFor, tick, log.String())
			get := func(path string, headers ...string) (int, string) {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, found[1]+path, nil)
				require.NoError(t, err)
				request.SetBasicAuth("admin", "admin-"+secret)
				for i := 0; i < len(headers); i += 2 {
					request.Header.Set(headers[i], headers[i+1])
				}
				answer, err := http.DefaultClient.Do(request)
				require.NoError(t, err)
				defer answer.Body.Close()
				body, err := io.ReadAll(answer.Body)
				require.NoError(t, err)
				require.NotContains(t, string(body)+fmt.Sprint(answer.Header), secret, path)
				return answer.StatusCode, string(body)
			}
			for _, page := range []string{"", "audit", "dates", "doctor", "api/doctor", "jobs", "schedule", "entities", "verifications", "backfills", "readyz"} {
				status, _ := get(page)
				require.Equal(t, http.StatusOK, status, page)
			}
			status, body := get("metrics", "Authorization", "Bearer metrics-"+secret)
			require.Equal(t, http.StatusOK, status)
			require.Contains(t, body, "daymill_")
			status, _ = get("dates", "Authorization", "Basic guess-"+secret)
			require.Equal(t, http.StatusUnauthorized, status)
			status, _ = get("api/dates?from=2026-03-01&to=2026-03-02&token="+secret, "Authorization", "Bearer guess-"+secret)
			require.Equal(t, http.StatusUnauthorized, status)

			require.Eventually(t, func() bool { return strings.Contains(log.String(), "traces cannot be sent") }, waitFor, tick, "the collector does not exist")

			// The database stops, and everything that needs it fails.
			require.NoError(t, server.Stop(t.Context(), pgserver.Immediate))
			require.Eventually(t, func() bool { return strings.Contains(log.String(), "Postgres does not answer") }, waitFor, tick)
			for _, page := range []string{"dates", "doctor", "readyz", "api/verifications"} {
				status, body := get(page)
				if page != "doctor" {
					require.Equal(t, http.StatusServiceUnavailable, status, "%s: %s", page, body)
				}
			}
			require.NoError(t, server.Start(t.Context()))
			again := regexp.MustCompile(`Postgres answers again.*lines_left_out"?[=:][1-9]`)
			require.Eventually(t, func() bool { return again.MatchString(log.String()) }, waitFor, tick, "other lines say nothing new meanwhile")

			// The goroutine dump of Go must not have the secrets.
			require.NoError(t, cmd.Process.Signal(syscall.SIGQUIT))
			<-ended
			require.Contains(t, log.String(), "goroutine")
			require.NotContains(t, log.String(), secret)
		}
	})
}
