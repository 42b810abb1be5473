package main

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// collect starts an OTLP collector. It returns its address, and a function that counts its spans so far by name.
func collect(t *testing.T) (address string, named func() map[string]int) {
	t.Helper()
	var mu sync.Mutex
	spans := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		var sent collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &sent)
		}
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, resource := range sent.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				for _, s := range scope.GetSpans() {
					spans[s.GetName()]++
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(spans)
	}
}

// TestWorkerTraces: a worker that is told to stop sends its remaining traces. It is not parallel, because OpenTelemetry reads the process's
// environment.
func TestWorkerTraces(t *testing.T) {
	to, named := collect(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", to)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000") // No traces are sent before the end.

	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	db.RawEvents(t)
	db.InsertDate(t, pgtest.Today(t, time.UTC).AddDays(-1), 2_000, 30)
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() {
		c, _, _ := command(ctx, db.URL, "worker", "--pace", "0")
		code <- c
	}()
	require.Eventually(t, func() bool {
		var complete bool
		err := db.QueryRow(t.Context(), "SELECT EXISTS(SELECT FROM analytics.rollup_dates WHERE state = 'complete' AND events = 2000)").Scan(&complete)
		return err == nil && complete
	}, waitFor, tick)
	cancel()
	require.Equal(t, exitOK, <-code)
	for _, name := range []string{"run", "scan", "publish", "settle", "EventSlice", `copy_from "analytics"."daily_entity_metrics"`} {
		require.Positive(t, named()[name], name)
	}
}

// TestVerbTraces: verbs that do a worker's work send the same traces as a worker, and print what they always do.
func TestVerbTraces(t *testing.T) {
	to, named := collect(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", to)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000") // No traces are sent before the end.
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	db.RawEvents(t)
	day := date.MustParse("2026-03-01")
	db.InsertDate(t, day, 2_000, 30)

	code, _, stderr := command(t.Context(), db.URL, "rollup", day.String(), "--pace", "0")
	require.Equal(t, exitOK, code)
	require.Empty(t, stderr)
	for _, name := range []string{"run", "scan", "publish", "settle", "EventSlice"} {
		require.Positive(t, named()[name], name)
	}
	require.Zero(t, named()["verify"])
	before := named()["EventSlice"]
	code, _, stderr = command(t.Context(), db.URL, "verify", day.String(), "--pace", "0")
	require.Equal(t, exitOK, code)
	require.Empty(t, stderr)
	require.Equal(t, 1, named()["verify"])
	require.Greater(t, named()["EventSlice"], before)

	// The log at level debug has it all.
	code, _, stderr = command(t.Context(), db.URL, "verify", day.String(), "--pace", "0", "--log-level", "debug")
	require.Equal(t, exitOK, code)
	require.Contains(t, stderr, `level=DEBUG msg="verification started" date=2026-03-01`)
	require.Contains(t, stderr, `level=DEBUG msg="date verified" date=2026-03-01 result=exact`)
	code, _, stderr = command(t.Context(), db.URL, "rollup", day.String(), "--pace", "0", "--log-level", "debug")
	require.Equal(t, exitOK, code)
	require.Contains(t, stderr, `level=DEBUG msg="run stopped"`)
}

func TestTraceRefused(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "zipkin")
	code, _, stderr := command(t.Context(), "postgres://127.0.0.1:1/none", "worker")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "give otlp, or none")
}
