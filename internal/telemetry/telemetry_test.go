package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/telemetry"
)

// recorder keeps what it is told, and marks the context.
type recorder struct {
	name string
	told []string
}

type nameKey struct{}

func (r *recorder) Listen(ctx context.Context, event telemetry.Event) context.Context {
	r.told = append(r.told, event.Name())
	before, _ := ctx.Value(nameKey{}).(string)
	return context.WithValue(ctx, nameKey{}, before+r.name)
}

func TestTell(t *testing.T) {
	t.Parallel()

	t.Run("InOrder", func(t *testing.T) {
		t.Parallel()
		a, b := &recorder{name: "a"}, &recorder{name: "b"}
		ctx := telemetry.Tell(t.Context(), telemetry.Listeners{a, b}, telemetry.Slice{})
		require.Equal(t, "ab", ctx.Value(nameKey{}))
		require.Equal(t, []string{"slice"}, a.told)
		require.Equal(t, a.told, b.told)
	})

	t.Run("NobodyListens", func(t *testing.T) {
		t.Parallel()
		ctx := t.Context()
		require.Equal(t, ctx, telemetry.Tell(ctx, nil, telemetry.RunStart{}))
	})
}

// What nobody listens to costs no memory: an event per statement must not be felt. Not parallel, because others'
// allocations would count.
func TestTellAllocatesNothing(t *testing.T) { //nolint:paralleltest // See above.
	ctx, none := t.Context(), telemetry.Listeners(nil)
	counts := 0 // What is constant would cost nothing anyway.
	require.Zero(t, testing.AllocsPerRun(100, func() {
		counts++
		telemetry.Tell(ctx, none, telemetry.Slice{Outcome: telemetry.Read, Counts: counts})
		telemetry.Tell(ctx, none, telemetry.RunStop{Outcome: telemetry.Complete, Run: telemetry.Run{ID: int64(counts)}})
	}))
}

// Every type that is an event is among Events, and so in the documentation.
func TestEvents(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	named := 0
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv != nil && f.Name.Name == "Name" {
				named++
			}
		}
	}
	require.Len(t, telemetry.Events(), named)
}

// The table of the documentation is the events and their fields, in order.
func TestDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/telemetry.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), "\n## Events\n")
	require.True(t, ok)
	section, _, _ := strings.Cut(rest, "\n## ")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|[^|]*\\| ([^|]*) \\|").FindAllStringSubmatch(section, -1) {
		documented = append(documented, row[1]+": "+strings.Join(regexp.MustCompile("`([a-z_]+)`").FindAllString(row[2], -1), " "))
	}
	var told []string
	for _, event := range telemetry.Events() {
		var keys []string
		for _, attr := range event.Attrs() {
			require.Regexp(t, `^[a-z][a-z_]*$`, attr.Key)
			keys = append(keys, "`"+attr.Key+"`")
		}
		told = append(told, event.Name()+": "+strings.Join(keys, " "))
	}
	require.Equal(t, told, documented)
}

func TestLog(t *testing.T) {
	t.Parallel()
	run := telemetry.Run{ID: 7, Date: date.MustParse("2026-03-01")}
	lines := func(level slog.Level, events ...telemetry.Event) string {
		var out bytes.Buffer
		log := telemetry.Log{Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
			Level: level,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		}))}
		for _, event := range events {
			require.Equal(t, t.Context(), log.Listen(t.Context(), event))
		}
		return out.String()
	}

	t.Run("OneLinePerRunAtInfo", func(t *testing.T) {
		t.Parallel()
		events := []telemetry.Event{
			telemetry.RunStart{Run: run},
			telemetry.RequestClaim{Run: run},
			telemetry.PhaseStart{Run: run},
			telemetry.Slice{Run: run},
			telemetry.PhaseStop{Run: run},
			telemetry.Batch{Run: run},
			telemetry.RequestSatisfy{Run: run},
			telemetry.RunStop{Run: run, Worker: "w", Outcome: telemetry.Complete, Figures: telemetry.Figures{Events: 3, Longest: 1500}},
		}
		require.Equal(t, `level=INFO msg="run stopped" run_id=7 date=2026-03-01 worker=w outcome=complete duration_ms=0 events=3 `+
			"entities=0 rows_inserted=0 rows_updated=0 rows_deleted=0 passes=0 slices=0 fetches=0 batches=0 "+
			"longest_statement_ms=0.001 worked_ms=0 paused_ms=0\n", lines(slog.LevelInfo, events...))
		require.Equal(t, len(events), strings.Count(lines(slog.LevelDebug, events...), "\n"))
	})

	t.Run("Severity", func(t *testing.T) {
		t.Parallel()
		for want, event := range map[string]telemetry.Event{
			`level=ERROR msg="run failed"`:                                             telemetry.RunError{Run: run, Err: errors.New("x")},
			`level=ERROR msg="verification failed"`:                                    telemetry.Verify{Err: errors.New("x")},
			`level=INFO msg="date verified"`:                                           telemetry.Verify{Entities: 1},
			`level=WARN msg="date of a dead worker is free for another"`:                  telemetry.RunRescue{},
			`level=ERROR msg="something that Daymill needs is missing or changed"`: telemetry.Fault{},
			`level=WARN msg="a date's metrics do not match its events"`:        telemetry.Verify{Result: telemetry.Drifted},
		} {
			require.Contains(t, lines(slog.LevelDebug, event), want)
		}
	})
}
