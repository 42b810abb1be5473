package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// freeAddress returns a free address of this machine.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// getMetrics requests /metrics; the status is 0 if there is no answer.
func getMetrics(t *testing.T, address, token string) (status int, body []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
	require.NoError(t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, body
}

func parseMetrics(t *testing.T, body []byte) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	require.NoError(t, err)
	return families
}

// value returns the value of a metric, without labels or with one, as a whole number; -1 if there is none.
func value(families map[string]*dto.MetricFamily, name string, label ...string) int64 {
	for _, metric := range families[name].GetMetric() {
		if len(label) == 2 && !slices.ContainsFunc(metric.GetLabel(), func(pair *dto.LabelPair) bool {
			return pair.GetName() == label[0] && pair.GetValue() == label[1]
		}) {
			continue
		}
		// Only one of the three is set.
		return int64(metric.GetCounter().GetValue()+metric.GetGauge().GetValue()) + int64(metric.GetHistogram().GetSampleCount())
	}
	return -1
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T) *pgtest.DB {
		t.Helper()
		return pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	}

	t.Run("Refused", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		code, _, stderr := command(t.Context(), db.URL, "worker", "--metrics-listen", "0.0.0.0:0")
		require.Equal(t, exitUsage, code)
		require.Contains(t, stderr, "set DAYMILL_METRICS_TOKEN, or listen on 127.0.0.1")
		taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer taken.Close()
		code, _, stderr = command(t.Context(), db.URL, "worker", "--metrics-listen", taken.Addr().String())
		require.Equal(t, exitUsage, code)
		require.Contains(t, stderr, "give another --metrics-listen")
	})

	// Serve counts the runs of its worker.
	t.Run("Serve", func(t *testing.T) {
		t.Parallel()
		db, address := setup(t), freeAddress(t)
		db.RawEvents(t)
		db.InsertDate(t, pgtest.Today(t, time.UTC).AddDays(-1), 100, 30)
		ctx, cancel := context.WithCancel(t.Context())
		code := make(chan int, 1)
		go func() {
			c, _, _ := command(ctx, db.URL, "serve", "--pace", "0", "--listen", address, "--metrics-token", "open sesame")
			code <- c
		}()
		require.Eventually(t, func() bool {
			status, body := getMetrics(t, address, "open sesame")
			return status == http.StatusOK && value(parseMetrics(t, body), "daymill_runs_total", "outcome", "complete") > 0
		}, waitFor, tick)
		cancel()
		require.Equal(t, exitOK, <-code)
	})

	t.Run("Web", func(t *testing.T) {
		t.Parallel()
		db, address := setup(t), freeAddress(t)
		ctx, cancel := context.WithCancel(t.Context())
		code := make(chan int, 1)
		go func() {
			c, _, _ := command(ctx, db.URL, "web", "--listen", address, "--metrics-token", "open sesame")
			code <- c
		}()
		require.Eventually(t, func() bool {
			status, _ := getMetrics(t, address, "")
			return status == http.StatusUnauthorized
		}, waitFor, tick)
		status, body := getMetrics(t, address, "open sesame")
		require.Equal(t, http.StatusOK, status)
		families := parseMetrics(t, body)
		require.Zero(t, value(families, "daymill_workers_alive"))
		require.NotContains(t, families, "daymill_runs_total") // The pages run nothing.
		cancel()
		require.Equal(t, exitOK, <-code)
	})

	t.Run("Worker", func(t *testing.T) {
		t.Parallel()
		db, address := setup(t), freeAddress(t)
		db.RawEvents(t)
		yesterday := pgtest.Today(t, time.UTC).AddDays(-1)
		db.InsertDate(t, yesterday, 3_000, 500)
		_, err := db.Exec(t.Context(), "CREATE TABLE public.orders (id integer PRIMARY KEY); INSERT INTO public.orders VALUES (1); "+
			"INSERT INTO view.view (name, paused_at) VALUES ('lines', now())")
		require.NoError(t, err)
		// Another worker reads from a follower.
		_, err = db.Exec(t.Context(), `INSERT INTO daymill.workers
			(name, last_seen_at, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower, followers)
			VALUES ('another', now() + interval '1 hour', 'v1', 1, 1, 1, 1, 1, 0, true, '[{"number": 1}]')`)
		require.NoError(t, err)
		for _, args := range [][]string{
			{"capture", "add", "public.orders"}, {"sink", "add", "hook", "kind=webhook", "url=$TEST_UNSET_URL", "from=snapshot"},
		} {
			code, _, stderr := command(t.Context(), db.URL, args...)
			require.Equal(t, exitOK, code, stderr)
		}
		startWorker(t, db.URL, "--pace", "0", "--metrics-listen", address, "--archive", "file://"+archiveOfAnother(t))
		var families map[string]*dto.MetricFamily
		require.Eventually(t, func() bool {
			status, body := getMetrics(t, address, "")
			if status != http.StatusOK {
				return false
			}
			families = parseMetrics(t, body)
			return value(families, "daymill_runs_total", "outcome", "complete") > 0 &&
				value(families, "daymill_dates", "state", "complete") > 0 && value(families, "daymill_stream_up", "stream", "app") == 1 &&
				value(families, "daymill_consumer_failed_attempts", "consumer", "hook") > 0
		}, waitFor, tick)

		runs := value(families, "daymill_runs_total", "outcome", "complete")
		require.Equal(t, runs, value(families, "daymill_run_duration_seconds", "outcome", "complete"))
		require.Equal(t, runs, value(families, "daymill_run_longest_statement_seconds"))
		require.EqualValues(t, 3_000, value(families, "daymill_events_total"))
		require.Equal(t, pgtest.RequireExact(t, db).Rows, value(families, "daymill_rows_total", "change", "inserted"))
		require.Positive(t, value(families, "daymill_requests_total", "action", "satisfied"))
		require.EqualValues(t, 1, value(families, "daymill_database_up"))
		require.EqualValues(t, 2, value(families, "daymill_workers_alive"))
		require.InDelta(t, time.Now().Unix(), value(families, "daymill_daily_job_last_run_timestamp_seconds"), 600)

		require.EqualValues(t, 1, value(families, "daymill_view_paused", "view", "lines"))
		require.EqualValues(t, 1, value(families, "daymill_snapshot_rows_total", "stream", "app"))
		require.Positive(t, value(families, "daymill_consumer_lag_changes", "consumer", "hook"))

		requireDocumented(t, families)
		requireMonitored(t, families)
	})
}

// archiveOfAnother returns the directory of an archive with a base, a segment, a gap and a proof, of a cluster that is not the tests'.
func archiveOfAnother(t *testing.T) string {
	t.Helper()
	dir, now := t.TempDir(), time.Now()
	place, err := store.Directory(dir)
	require.NoError(t, err)
	const position, next = "00000000/01000000", "00000000/02000000"
	require.NoError(t, chain.WriteManifest(t.Context(), place, chain.Manifest{Format: chain.Format, Slot: "archive_daymill_test", SystemID: "1", From: position, CreatedAt: now}))
	put := func(name string) store.File {
		file, err := place.Put(t.Context(), name, func(to io.Writer) error {
			_, err := io.WriteString(to, "\n")
			return err
		})
		require.NoError(t, err)
		return file
	}
	require.NoError(t, chain.AddBase(t.Context(), place, chain.Base{Position: position, At: now, Globals: put(chain.BaseDir(position) + "globals.sql")}))
	require.NoError(t, chain.AddGap(t.Context(), place, chain.Gap{From: next, At: now, Kind: chain.GapSlot}))
	require.NoError(t, chain.AddProof(t.Context(), place, chain.Proof{At: now, Tables: 1, Rows: 1}))
	require.NoError(t, place.PutJSON(t.Context(), segment.Name(position)+".json", segment.Seal{
		File: put(segment.Name(position)), From: position, To: next, Transactions: 1, LastCommit: now,
	}))
	return dir
}

// requireDocumented compares the metrics, their kinds and their labels with the table of the documentation.
func requireDocumented(t *testing.T, families map[string]*dto.MetricFamily) {
	t.Helper()
	rows := regexp.MustCompile("(?m)^\\| `(daymill_[a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\|").
		FindAllStringSubmatch(read(t, root+"/docs/telemetry.md"), -1)
	var documented, served []string
	for _, row := range rows {
		documented = append(documented, row[1]+" "+row[2]+" "+strings.Join(regexp.MustCompile("[a-z_]+").FindAllString(row[3], -1), " "))
	}
	for name, family := range families {
		if !strings.HasPrefix(name, "daymill_") {
			continue
		}
		var labels []string
		for _, pair := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, pair.GetName())
		}
		served = append(served, name+" "+strings.ToLower(family.GetType().String())+" "+strings.Join(labels, " "))
	}
	slices.Sort(documented)
	slices.Sort(served)
	require.Equal(t, served, documented)
}

// rules is a file of Prometheus rules. Unknown fields are refused.
type rules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr string
			For         model.Duration
			Labels      map[string]string
			Annotations map[string]string
		}
	}
}

// requireMonitored checks that every metric, and every value of a label, in the alerts and the dashboard exists.
func requireMonitored(t *testing.T, families map[string]*dto.MetricFamily) {
	t.Helper()
	var alerts rules
	decoder := yaml.NewDecoder(strings.NewReader(read(t, root+"/docs/monitoring/alerts.yaml")))
	decoder.KnownFields(true)
	require.NoError(t, decoder.Decode(&alerts))
	var expressions []string
	for _, group := range alerts.Groups {
		for _, rule := range group.Rules {
			require.Regexp(t, `^Daymill[A-Za-z]+$`, rule.Alert)
			require.Contains(t, rule.Annotations, "summary", rule.Alert)
			require.Contains(t, rule.Annotations, "action", rule.Alert)
			require.Contains(t, []string{"page", "warn"}, rule.Labels["severity"], rule.Alert)
			require.Contains(t, read(t, root+"/docs/telemetry.md"), "`"+rule.Alert+"`")
			expressions = append(expressions, rule.Expr)
		}
	}
	require.Greater(t, len(expressions), 4)

	var dashboard struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	file, err := os.ReadFile(root + "/docs/monitoring/dashboard.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(file, &dashboard))
	for _, panel := range dashboard.Panels {
		require.NotEmpty(t, panel.Targets, panel.Title)
		for _, target := range panel.Targets {
			require.Equal(t, strings.Count(target.Expr, "("), strings.Count(target.Expr, ")"), target.Expr)
			expressions = append(expressions, target.Expr)
		}
	}

	for _, expr := range expressions {
		named := regexp.MustCompile(`(daymill_[a-z_]+)(\{[^}]*\})?`).FindAllStringSubmatch(expr, -1)
		require.NotEmpty(t, named, expr)
		for _, match := range named {
			name := match[1]
			if family := families[regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")]; families[name] == nil {
				require.Equal(t, dto.MetricType_HISTOGRAM, family.GetType(), "%s: there is no metric %s", expr, name)
				name = family.GetName()
			}
			for _, pair := range regexp.MustCompile(`([a-z]+)="([a-z_]+)"`).FindAllStringSubmatch(match[2], -1) {
				require.GreaterOrEqual(t, value(families, name, pair[1], pair[2]), int64(0), "%s: %s has no %s", expr, name, pair[0])
			}
		}
	}
}
