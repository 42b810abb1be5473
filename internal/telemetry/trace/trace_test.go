package trace_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	span "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/filter"
	capturelog "github.com/daymill/daymill/internal/capture/log"
	capturesignal "github.com/daymill/daymill/internal/capture/signal"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/rollup/verification"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/telemetry/trace"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/view/definition"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var day = date.MustParse("2026-03-01")

// receiver is an OTLP collector, over HTTP and over gRPC.
type receiver struct {
	collector.UnimplementedTraceServiceServer

	mu    sync.Mutex
	spans []*span.Span
	raw   bytes.Buffer // everything that was received, as text
}

func (r *receiver) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw.WriteString(request.String())
	for _, resource := range request.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			r.spans = append(r.spans, scope.GetSpans()...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	var sent collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &sent)
	}
	if err != nil || request.URL.Path != "/v1/traces" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	_, _ = r.Export(request.Context(), &sent)
}

func (r *receiver) named(name string) (found []*span.Span) {
	for _, s := range r.spans {
		if s.GetName() == name {
			found = append(found, s)
		}
	}
	return found
}

// children returns the names of a span's children, each once, in order.
func (r *receiver) children(of *span.Span) (names []string) {
	for _, s := range r.spans {
		if bytes.Equal(s.GetParentSpanId(), of.GetSpanId()) {
			names = append(names, s.GetName())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

type testBundle struct {
	*receiver

	db     *pgtest.DB
	runner *run.Runner
	tracer *trace.Tracer
}

// setup returns a runner whose spans go to a receiver. The exporter reads the process's environment, so tests
// that use it are not parallel.
func setup(t *testing.T, protocol string) *testBundle {
	t.Helper()
	to := &receiver{}
	var endpoint string
	if protocol == "grpc" {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		server := grpc.NewServer()
		collector.RegisterTraceServiceServer(server, to)
		go func() { _ = server.Serve(listener) }() // It ends with Stop.
		t.Cleanup(server.Stop)
		endpoint = "http://" + listener.Addr().String()
	} else {
		server := httptest.NewServer(to)
		t.Cleanup(server.Close)
		endpoint = server.URL
	}
	environment := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
	for name, value := range environment {
		t.Setenv(name, value)
	}
	tracer, err := trace.New(t.Context(), trace.Config{
		Getenv: func(name string) string { return environment[name] },
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Version: "v1", Instance: "here",
	})
	require.NoError(t, err)
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	db.RawEvents(t)
	traced, err := postgres.Open(t.Context(), postgres.Config{URL: db.URL, Tracer: tracer.Queries()})
	require.NoError(t, err)
	t.Cleanup(traced.Close)
	return &testBundle{receiver: to, db: db, tracer: tracer, runner: &run.Runner{
		Primary: traced, Source: traced, Type: entity.Bigint, Clock: pace.SystemClock{},
		Options: run.Options{Worker: "here"}, Listeners: telemetry.Listeners{tracer},
	}}
}

func (b *testBundle) rollup(t *testing.T) error {
	t.Helper()
	_, err := b.db.Exec(t.Context(), "SELECT analytics.enqueue_rollup($1)", day)
	require.NoError(t, err)
	_, err = b.runner.Run(t.Context(), run.Order{Date: day})
	require.NoError(t, b.tracer.Close(t.Context()))
	return err
}

// requireDiscreet fails if the receiver got data that must not leave the process.
func (b *testBundle) requireDiscreet(t *testing.T, more ...string) {
	t.Helper()
	config := b.db.Config().ConnConfig
	for _, secret := range append(more, "postgres://", config.Database, "user.name", "pgx.query.parameters") {
		require.NotContains(t, b.raw.String(), secret)
	}
}

// copying is the span of a batch's new rows.
const copying = `copy_from "analytics"."daily_entity_metrics"`

// A verification is a separate trace with a span per statement, and without the entities that differ.
func TestVerificationTraces(t *testing.T) { //nolint:paralleltest // See setup.
	b := setup(t, "http/protobuf")
	b.db.InsertDate(t, day, 2_000, 300)
	b.db.Insert(t, pgtest.Event{Entity: "7263548901", Type: "view", At: time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)})
	_, err := b.runner.Run(t.Context(), run.Order{Date: day})
	require.ErrorIs(t, err, run.ErrNothingToDo)
	_, err = b.db.Exec(t.Context(), "SELECT analytics.enqueue_rollup($1)", day)
	require.NoError(t, err)
	_, err = b.runner.Run(t.Context(), run.Order{Date: day})
	require.NoError(t, err)
	_, err = b.db.Exec(t.Context(), "DELETE FROM analytics.daily_entity_metrics WHERE entity_id = 7263548901")
	require.NoError(t, err)
	verifier := &verification.Verifier{
		Primary: b.runner.Primary, Source: b.runner.Source, Type: entity.Bigint, Clock: pace.SystemClock{}, Listeners: b.runner.Listeners,
		Options: verification.Options{MaxEntities: 1_000},
	}
	result, err := verifier.Verify(t.Context(), verification.Order{Date: day, Via: "cli"})
	require.NoError(t, err)
	require.Equal(t, verification.Drifted, result.Result)
	stopped, cancel := context.WithCancel(t.Context())
	_, err = verifier.Verify(stopped, verification.Order{Date: day, Via: "cli", Progress: func(string, float64) { cancel() }})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, b.tracer.Close(t.Context()))

	verified := b.named("verify")
	require.Len(t, verified, 2)
	require.Empty(t, verified[0].GetParentSpanId())
	require.Subset(t, b.children(verified[0]), []string{"EventSlice", "VerificationBegin"})
	require.Contains(t, verified[0].String(), "daymill.drifted_entities")
	require.Contains(t, verified[1].String(), signal.Interrupted)
	b.requireDiscreet(t, "7263548901")
}

// The statement that reads a small date has a span, although it ran before the run's own began.
func TestSmall(t *testing.T) { //nolint:paralleltest // See setup.
	b := setup(t, "http/protobuf")
	b.db.InsertDate(t, day, 100, 30)
	require.NoError(t, b.rollup(t))
	runs := b.named("run")
	require.Len(t, runs, 1)
	require.Subset(t, b.children(runs[0]), []string{"publish", "scan", "settle"})
	require.Contains(t, b.children(b.named("scan")[0]), "EventFew")
	require.Contains(t, b.children(b.named("publish")[0]), "DateSettle")
}

func TestTraces(t *testing.T) { //nolint:paralleltest // See setup.
	for _, protocol := range []string{"grpc", "http/protobuf"} { //nolint:paralleltest // See setup.
		t.Run(protocol, func(t *testing.T) {
			b := setup(t, protocol)
			b.db.InsertDate(t, day, 2_000, 300)
			b.db.Insert(t, pgtest.Event{Entity: "7263548901", Type: "view", At: time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)})
			require.NoError(t, b.rollup(t))

			runs := b.named("run")
			require.Len(t, runs, 1)
			require.Empty(t, runs[0].GetParentSpanId())
			require.Subset(t, b.children(runs[0]), []string{"ProtectionGet", "publish", "scan", "settle"})
			require.Contains(t, b.children(b.named("scan")[0]), "EventSlice")
			require.Contains(t, b.children(b.named("publish")[0]), copying)
			require.Contains(t, b.children(b.named("settle")[0]), "DateComplete")
			require.Contains(t, b.raw.String(), "daymill.rows_inserted")
			require.Contains(t, b.raw.String(), `"service.name"`)
			b.requireDiscreet(t, "7263548901")
		})
	}
}

// Messages of Postgres may contain the application's data, so a span has only the error's code.
func TestErrors(t *testing.T) { //nolint:paralleltest // See setup.
	for writing, events := range map[string]int{copying: 2_000, "MetricUpsert": 100} { //nolint:paralleltest // See setup.
		t.Run(writing, func(t *testing.T) {
			b := setup(t, "http/protobuf")
			b.db.InsertDate(t, day, events, 30)
			_, err := b.db.Exec(t.Context(), `
				CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN RAISE EXCEPTION 'not entity % of hunter2', NEW.entity_id USING ERRCODE = '22P02'; END $$;
				CREATE TRIGGER refuse BEFORE INSERT ON analytics.daily_entity_metrics FOR EACH ROW EXECUTE FUNCTION public.refuse()`)
			require.NoError(t, err)
			require.ErrorContains(t, b.rollup(t), "hunter2")
			for _, name := range []string{writing, "publish", "run"} {
				require.NotEmpty(t, b.named(name), name)
				require.Equal(t, span.Status_STATUS_CODE_ERROR, b.named(name)[0].GetStatus().GetCode(), name)
				require.Contains(t, b.named(name)[0].GetStatus().GetMessage(), "22P02", name)
			}
			b.requireDiscreet(t, "hunter2")
		})
	}
}

// Statements outside a run are not traced: a worker looks for requests every second.
func TestOutsideRuns(t *testing.T) { //nolint:paralleltest // See setup.
	b := setup(t, "http/protobuf")
	_, err := b.runner.Primary.Exec(t.Context(), "SELECT 1")
	require.NoError(t, err)
	require.NoError(t, b.tracer.Close(t.Context()))
	require.Empty(t, b.spans)
}

// The environment configures the exporter. An error about it does not contain the value.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for name, test := range map[string]struct {
		environment map[string]string
		traced      bool
		problem     string
	}{
		"Disabled":    {map[string]string{endpoint: "http://localhost:4318", "OTEL_SDK_DISABLED": "true"}, false, ""},
		"Endpoint":    {map[string]string{endpoint: "http://localhost:4318"}, true, ""},
		"EndpointBad": {map[string]string{endpoint: "admin:hunter2@collector"}, false, endpoint + " is not a URL"},
		"Exporter":    {map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true, ""},
		"ExporterBad": {map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, false, "give otlp, or none"},
		"None":        {map[string]string{endpoint: "http://localhost:4318", "OTEL_TRACES_EXPORTER": "none"}, false, ""},
		"Nothing":     {nil, false, ""},
		"ProtocolBad": {map[string]string{endpoint: "http://localhost:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, false, "give http/protobuf or grpc"},
		"Service":     {map[string]string{"OTEL_SERVICE_NAME": "daymill"}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tracer, err := trace.New(t.Context(), trace.Config{
				Getenv: func(name string) string { return test.environment[name] }, Logger: slog.New(slog.DiscardHandler),
			})
			if test.problem != "" {
				require.ErrorIs(t, err, trace.ErrVariable)
				require.ErrorContains(t, err, test.problem)
				require.NotContains(t, err.Error(), "hunter2")
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.traced, tracer != nil)
			if tracer != nil {
				require.NoError(t, tracer.Close(t.Context()))
			}
		})
	}
}

// If the collector cannot be reached, spans are lost and a line is logged, but no run fails.
func TestCollectorAway(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+listener.Addr().String())
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "100")
	var log bytes.Buffer
	tracer, err := trace.New(t.Context(), trace.Config{
		Getenv: func(name string) string {
			return strings.Repeat("http://"+listener.Addr().String(), strings.Count(name, "OTEL_EXPORTER_OTLP_ENDPOINT"))
		},
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.NoError(t, err)
	ctx := tracer.Listen(t.Context(), signal.RunStart{})
	tracer.Listen(ctx, signal.RunError{Err: errors.New("hunter2")})
	require.NoError(t, tracer.Close(t.Context()))
	require.Equal(t, 1, strings.Count(log.String(), "traces cannot be sent"))
}

// Each batch that a consumer delivers is a trace with a span per statement, and without the rows.
func TestDeliveryTraces(t *testing.T) { //nolint:paralleltest // See setup.
	b := setup(t, "http/protobuf")
	writer, err := capturelog.Take(t.Context(), capturelog.Config{DB: b.db.DB, Stream: "app", Owner: "test"})
	require.NoError(t, err)
	one := sinktest.Insert(0, 7263548901)
	require.NoError(t, writer.Land(t.Context(), []change.Change{one}, capturelog.Mark{}))
	hook := consumer.Consumer{Name: "hook", Stream: "app", Kind: "test"}
	require.NoError(t, b.db.Tx(t.Context(), func(tx pgx.Tx) error {
		return consumer.Create(t.Context(), tx, hook, 0, audit.Who{Via: audit.ViaCLI})
	}))
	hook, err = consumer.Get(t.Context(), b.db.DB, "hook")
	require.NoError(t, err)
	// Only with a dead letter does a delivery look for changes that wait behind one.
	_, err = b.db.Exec(t.Context(), `INSERT INTO capture.letter (consumer, shard, position, key_hash, key, change, state, reason)
		VALUES ('hook', 0, 0, '\x00', 'another', '{}', 'refused', 'it is refused')`)
	require.NoError(t, err)
	passes, err := filter.New(filter.Config{})
	require.NoError(t, err)
	_, err = consumer.Run(t.Context(), consumer.Config{
		DB: b.runner.Primary, Log: logOf{}, Sink: failing{errors.New("hunter2 says no")}, Filter: passes, Consumer: hook, Listeners: b.runner.Listeners,
	})
	require.NoError(t, err)
	require.NoError(t, b.tracer.Close(t.Context()))

	delivered := b.named("deliver")
	require.Len(t, delivered, 1)
	require.Empty(t, delivered[0].GetParentSpanId())
	require.Contains(t, b.children(delivered[0]), "LetterParked")
	require.Equal(t, span.Status_STATUS_CODE_ERROR, delivered[0].GetStatus().GetCode())
	require.Contains(t, delivered[0].String(), "daymill.consumer")
	require.Contains(t, delivered[0].String(), capturesignal.Failed)
	b.requireDiscreet(t, "7263548901", "hunter2")
}

// logOf reads the log for a consumer.
type logOf struct{ capturelog.Log }

func (l logOf) Read(ctx context.Context, on postgres.DBTX, q consumer.Query) ([]change.Change, int64, error) {
	return l.Log.Read(ctx, on, capturelog.Query(q))
}

func (logOf) Head(context.Context, postgres.DBTX, string) (int64, error) { return 1, nil }

// failing is a sink that always fails.
type failing struct{ err error }

func (f failing) Deliver(context.Context, []change.Change) ([]sink.Refusal, error) { return nil, f.err }
func (failing) Close() error                                                       { return nil }

// TestViewTraces: each turn of a view's task is a trace with its statements, and without the rows.
func TestViewTraces(t *testing.T) { //nolint:paralleltest // See setup.
	b := setup(t, "http/protobuf")
	_, err := b.db.Exec(t.Context(), "CREATE TABLE public.people (id integer PRIMARY KEY, name text); INSERT INTO public.people VALUES (1, '7263548901')")
	require.NoError(t, err)
	databases := &view.Databases{
		DB: b.runner.Primary, URL: b.db.URL, Lookup: func(string) (string, bool) { return "", false }, Variables: map[string]string{},
	}
	t.Cleanup(databases.Close)
	engine := &view.Engine{DB: b.runner.Primary, Databases: databases, Listeners: b.runner.Listeners}
	definitions, err := definition.Parse("v.yaml", []byte("name: staff\nschedule: {every: 1m}\ntables: [{table: people, columns: [id, name]}]"))
	require.NoError(t, err)
	steps, err := engine.Plan(t.Context(), definitions)
	require.NoError(t, err)
	require.NoError(t, engine.Apply(t.Context(), steps, audit.Who{Actor: "a test", Via: audit.ViaCLI}))
	due, err := engine.Due(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, due)
	for _, id := range due {
		_, err := engine.Work(t.Context(), id)
		require.NoError(t, err)
	}
	require.NoError(t, b.tracer.Close(t.Context()))
	tasks := b.named("view_task")
	require.Len(t, tasks, len(due))
	require.Contains(t, b.children(tasks[0]), "ViewTaskMove")
	require.Contains(t, tasks[0].String(), "staff")
	b.requireDiscreet(t, "7263548901")
}
