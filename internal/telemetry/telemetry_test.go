package telemetry_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/telemetry"
)

// recorder keeps the signals that it receives, and marks the context.
type recorder struct {
	name string
	told []string
}

type nameKey struct{}

// happened is a signal for the tests.
type happened struct {
	name  string
	times int
}

func (happened) Name() string { return "happened" }

func (h happened) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("name", h.name), slog.String("nothing", ""), slog.Int("times", h.times)}
}

func (happened) Line() (slog.Level, string) { return slog.LevelInfo, "it happened" }

func (r *recorder) Listen(ctx context.Context, signal telemetry.Signal) context.Context {
	r.told = append(r.told, signal.Name())
	before, _ := ctx.Value(nameKey{}).(string)
	return context.WithValue(ctx, nameKey{}, before+r.name)
}

func TestTell(t *testing.T) {
	t.Parallel()

	t.Run("InOrder", func(t *testing.T) {
		t.Parallel()
		a, b := &recorder{name: "a"}, &recorder{name: "b"}
		ctx := telemetry.Tell(t.Context(), telemetry.Listeners{a, b}, happened{})
		require.Equal(t, "ab", ctx.Value(nameKey{}))
		require.Equal(t, []string{"happened"}, a.told)
		require.Equal(t, a.told, b.told)
	})

	t.Run("NobodyListens", func(t *testing.T) {
		t.Parallel()
		ctx := t.Context()
		require.Equal(t, ctx, telemetry.Tell(ctx, nil, happened{}))
	})
}

// TestTellAllocatesNothing: a signal without listeners allocates nothing, because there is one for each
// statement. Not parallel, because allocations of other tests would count.
func TestTellAllocatesNothing(t *testing.T) { //nolint:paralleltest // See above.
	ctx, none := t.Context(), telemetry.Listeners(nil)
	counts := 0 // Constants would not allocate anyway.
	require.Zero(t, testing.AllocsPerRun(100, func() {
		counts++
		telemetry.Tell(ctx, none, happened{name: "slice", times: counts})
	}))
}

// A log line leaves out empty fields, and has level debug if the log is quiet.
func TestLog(t *testing.T) {
	t.Parallel()
	for quiet, want := range map[bool]string{false: "level=INFO msg=\"it happened\" name=x times=3\n", true: ""} {
		var out bytes.Buffer
		log := telemetry.Log{Quiet: quiet, Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		}))}
		require.Equal(t, t.Context(), log.Listen(t.Context(), happened{name: "x", times: 3}))
		require.Equal(t, want, out.String())
	}
}
