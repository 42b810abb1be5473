// Package trace turns signals into OpenTelemetry spans, and sends them over OTLP if the standard OTEL_*
// variables ask for it. A run has a span, with a child for each phase, which has a child for each statement.
// Nothing outside a run is traced.
//
// A span contains no parameters of statements, no entities, no part of a connection's URL and no text of an
// error, which may quote any of these. It shows only the SQLSTATE of an error.
package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	meternoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/daymill/daymill/internal/telemetry"
)

// ErrVariable says that an OTEL_* variable has an invalid value.
var ErrVariable = errors.New("traces cannot be sent")

// Config configures a Tracer. The exporter and the sampler read all other settings from the OTEL_* variables.
type Config struct {
	Getenv   func(string) string
	Logger   *slog.Logger // gets a line when spans can no longer be sent, and when they can again
	Version  string       // of the program
	Instance string       // the process, as the ledger names it
}

// Tracer is a listener that makes spans.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// New returns a tracer, or nil if the environment asks for none. It does not connect before there are spans.
func New(ctx context.Context, config Config) (*Tracer, error) {
	protocol, err := protocolOf(config.Getenv)
	if err != nil || protocol == "" {
		return nil, err
	}
	var exporter sdktrace.SpanExporter
	if protocol == "grpc" {
		exporter, err = otlptracegrpc.New(ctx)
	} else {
		exporter, err = otlptracehttp.New(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrVariable, err)
	}
	// OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come last, so they take precedence.
	described, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "daymill"), attribute.String("service.version", config.Version),
		attribute.String("service.instance.id", config.Instance),
	), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrVariable, err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithResource(described),
		sdktrace.WithBatcher(&reporter{SpanExporter: exporter, logger: config.Logger}),
	)
	return &Tracer{
		provider: provider,
		tracer:   provider.Tracer("github.com/daymill/daymill", trace.WithInstrumentationVersion(config.Version)),
	}, nil
}

// protocolOf returns the protocol with which to send spans, or an empty text if the environment asks for none.
func protocolOf(getenv func(string) string) (string, error) {
	first := func(names ...string) (name, value string) {
		for _, name := range names {
			if value := getenv(name); value != "" {
				return name, value
			}
		}
		return names[0], ""
	}
	endpointName, endpoint := first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
	switch exporter := getenv("OTEL_TRACES_EXPORTER"); {
	case getenv("OTEL_SDK_DISABLED") == "true", exporter == "none", exporter == "" && endpoint == "":
		return "", nil
	case exporter != "" && exporter != "otlp":
		return "", fmt.Errorf("%w: OTEL_TRACES_EXPORTER is %q: give otlp, or none", ErrVariable, exporter)
	}
	if at, err := url.Parse(endpoint); endpoint != "" && (err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "") {
		// Do not show the value, which may contain a password.
		return "", fmt.Errorf("%w: %s is not a URL: write it as http://localhost:4318", ErrVariable, endpointName)
	}
	switch name, protocol := first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); protocol {
	case "", "http/protobuf":
		return "http/protobuf", nil
	case "grpc":
		return protocol, nil
	default:
		return "", fmt.Errorf("%w: %s is %q: give http/protobuf or grpc", ErrVariable, name, protocol)
	}
}

// Close sends the remaining spans, until ctx is done, and stops the tracer.
func (t *Tracer) Close(ctx context.Context) error {
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}

// Signals that begin, end or annotate spans implement one of these.
type (
	starter interface{ SpanStart() string } // begins a span with this name
	stopper interface{ SpanEnd() error }    // ends the span, with an error or nil
	moment  interface{ SpanEvent() }        // adds an event to the span
	past    interface {                     // is a span that has ended, unless it has no name
		SpanPast() (name string, took time.Duration)
	}
)

// Listen begins and ends spans.
func (t *Tracer) Listen(ctx context.Context, signal telemetry.Signal) context.Context {
	span := trace.SpanFromContext(ctx)
	switch s := signal.(type) {
	case starter:
		ctx, span = t.tracer.Start(ctx, s.SpanStart()) // A later signal, a stopper, ends it.
		span.SetAttributes(attributes(signal)...)
	case stopper:
		end(span, signal, s.SpanEnd())
	case past:
		if name, took := s.SpanPast(); name != "" {
			now := time.Now() //nolint:forbidigo // Spans have real times.
			_, ended := t.tracer.Start(ctx, name, trace.WithTimestamp(now.Add(-took)))
			ended.End(trace.WithTimestamp(now))
		}
	case moment:
		span.AddEvent(signal.Name(), trace.WithAttributes(attributes(signal)...))
	}
	return ctx
}

func end(span trace.Span, signal telemetry.Signal, err error) {
	span.SetAttributes(attributes(signal)...)
	if err != nil {
		span.SetStatus(codes.Error, safe(err).Error())
	}
	span.End()
}

// attributes returns a signal's fields, without the text of an error.
func attributes(signal telemetry.Signal) []attribute.KeyValue {
	fields := signal.Attrs()
	all := make([]attribute.KeyValue, 0, len(fields))
	for _, field := range fields {
		key := "daymill." + field.Key
		switch field.Value.Kind() {
		case slog.KindInt64:
			all = append(all, attribute.Int64(key, field.Value.Int64()))
		case slog.KindFloat64:
			all = append(all, attribute.Float64(key, field.Value.Float64()))
		default:
			if field.Key != "error" {
				all = append(all, attribute.String(key, field.Value.String()))
			}
		}
	}
	return all
}

var errFailed = errors.New("failed: the log says why")

// safe wraps an error to hide its text.
func safe(err error) error {
	var refused *pgconn.PgError
	switch {
	case err == nil, errors.Is(err, pgx.ErrNoRows):
		return err
	case errors.As(err, &refused):
		return &pgconn.PgError{Severity: refused.Severity, Code: refused.Code, Message: "refused by Postgres"}
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	default:
		return errFailed
	}
}

// Queries returns a pgx tracer that makes spans of the statements within another span.
func (t *Tracer) Queries() pgx.QueryTracer {
	return queries{otelpgx.NewTracer(
		otelpgx.WithTracerProvider(t.provider), otelpgx.WithMeterProvider(meternoop.NewMeterProvider()),
		otelpgx.WithDisableConnectionDetailsInAttributes(), otelpgx.WithSpanNameFunc(statementName),
	)}
}

// statementName returns the name that queries/ gives to a statement, such as EventSlice, or else the
// statement's first word.
func statementName(sql string) string {
	if rest, named := strings.CutPrefix(sql, "-- name: "); named {
		if name, _, ok := strings.Cut(rest, " "); ok {
			return name
		}
	}
	return otelpgx.SQLOperationName(context.Background(), sql) // It does not use the context.
}

// queries keeps the texts of errors out of spans. It traces only statements and COPY, and not connecting.
type queries struct{ tracer *otelpgx.Tracer }

// TraceQueryStart begins a span.
func (q queries) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return q.tracer.TraceQueryStart(ctx, conn, pgx.TraceQueryStartData{SQL: data.SQL})
}

// TraceQueryEnd ends it.
func (q queries) TraceQueryEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryEndData) {
	q.tracer.TraceQueryEnd(ctx, conn, pgx.TraceQueryEndData{CommandTag: data.CommandTag, Err: safe(data.Err)})
}

// reporter logs when spans can no longer be sent, and when they can again. OpenTelemetry's own error handler
// is global, so it is not used.
type reporter struct {
	sdktrace.SpanExporter

	logger *slog.Logger
	failed atomic.Bool
}

// ExportSpans sends spans. It logs that spans cannot be sent, and returns no error: such spans are lost.
func (r *reporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := r.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !r.failed.Swap(true):
		r.logger.WarnContext(ctx, "traces cannot be sent", slog.String("error", err.Error()))
	case err == nil && r.failed.Swap(false):
		r.logger.InfoContext(ctx, "traces are sent again")
	}
	return nil
}

// TraceCopyFromStart begins a span.
func (q queries) TraceCopyFromStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceCopyFromStartData) context.Context {
	return q.tracer.TraceCopyFromStart(ctx, conn, data)
}

// TraceCopyFromEnd ends it.
func (q queries) TraceCopyFromEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceCopyFromEndData) {
	q.tracer.TraceCopyFromEnd(ctx, conn, pgx.TraceCopyFromEndData{CommandTag: data.CommandTag, Err: safe(data.Err)})
}

// TraceBatchStart begins a span of statements that are sent together.
func (q queries) TraceBatchStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	return q.tracer.TraceBatchStart(ctx, conn, data)
}

// TraceBatchQuery makes a span of one of them.
func (q queries) TraceBatchQuery(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchQueryData) {
	q.tracer.TraceBatchQuery(ctx, conn, pgx.TraceBatchQueryData{SQL: data.SQL, CommandTag: data.CommandTag, Err: safe(data.Err), ReadStartTime: data.ReadStartTime})
}

// TraceBatchEnd ends the span. Without it, pgx ends the span around the batch for each of its queries.
func (q queries) TraceBatchEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchEndData) {
	q.tracer.TraceBatchEnd(ctx, conn, pgx.TraceBatchEndData{Err: safe(data.Err)})
}
