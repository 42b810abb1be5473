package main

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/alert"
	archive "github.com/daymill/daymill/internal/archive/signal"
	capture "github.com/daymill/daymill/internal/capture/signal"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/telemetry/prom"
	view "github.com/daymill/daymill/internal/view/signal"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/ui/door"
)

// signalFolders returns the packages that have signals.
func signalFolders() []string {
	return []string{"internal/rollup/signal", "internal/capture/signal", "internal/view/signal", "internal/archive/signal", "internal/worker", "ui/door", "internal/alert"}
}

func allSignals() []telemetry.Signal {
	return slices.Concat(signal.All(), capture.All(), view.All(), archive.All(), worker.Signals(), door.Signals(), alert.Signals())
}

func allMetrics() []telemetry.Metric {
	return slices.Concat(signal.Metrics(), capture.Metrics(), view.Metrics(), archive.Metrics(), worker.Metrics(), door.Metrics(), alert.Metrics())
}

// TestSignals: the signals and metrics of all capabilities match the documentation.
func TestSignals(t *testing.T) {
	t.Parallel()

	// The documentation's table has the signals and their fields, in order.
	t.Run("Documented", func(t *testing.T) {
		t.Parallel()
		_, rest, ok := strings.Cut(read(t, root+"/docs/telemetry.md"), "\n## Signals\n")
		require.True(t, ok)
		section, _, _ := strings.Cut(rest, "\n## ")
		var documented []string
		for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|[^|]*\\| ([^|]*) \\|").FindAllStringSubmatch(section, -1) {
			documented = append(documented, row[1]+": "+strings.Join(regexp.MustCompile("`([a-z_]+)`").FindAllString(row[2], -1), " "))
		}
		var sent []string
		for _, one := range allSignals() {
			var keys []string
			for _, attr := range one.Attrs() {
				require.Regexp(t, `^[a-z][a-z_]*$`, attr.Key)
				keys = append(keys, "`"+attr.Key+"`")
			}
			sent = append(sent, one.Name()+": "+strings.Join(keys, " "))
		}
		require.Equal(t, sent, documented)
	})

	// Every type that is a signal is in its package's list.
	t.Run("Listed", func(t *testing.T) {
		t.Parallel()
		declared := 0
		for _, folder := range signalFolders() {
			files, err := filepath.Glob(root + "/" + folder + "/*.go")
			require.NoError(t, err)
			for _, path := range files {
				file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
				require.NoError(t, err)
				for _, decl := range file.Decls {
					if f, ok := decl.(*ast.FuncDecl); ok && f.Recv != nil && f.Name.Name == "Attrs" {
						declared++
					}
				}
			}
		}
		require.Len(t, allSignals(), declared)
	})

	t.Run("MetricsAreDeclared", func(t *testing.T) {
		t.Parallel()
		names := map[string]bool{}
		for _, metric := range allMetrics() {
			require.False(t, names[metric.Name], metric.Name)
			names[metric.Name] = true
		}
		for _, one := range allSignals() {
			if sampler, is := one.(telemetry.Sampler); is {
				for _, sample := range sampler.Samples() {
					require.Contains(t, names, sample.Metric, one.Name())
				}
			}
		}
	})

	t.Run("MetricsAreNamedByConvention", func(t *testing.T) {
		t.Parallel()
		registry := prom.NewRegistry("test")
		prom.NewListener(registry, allMetrics())
		parts := allGauges(nil, schema.Installation{}, pace.SystemClock{}, nil)
		for i, part := range parts {
			parts[i].Read = func(context.Context) (samples []telemetry.Sample, err error) {
				for _, gauge := range part.All {
					samples = append(samples, telemetry.Reading(gauge.Name, 1, make([]string, len(gauge.Labels))...))
				}
				return samples, nil
			}
		}
		registry.MustRegister(prom.NewGauges(pace.SystemClock{}, parts...))
		problems, err := testutil.GatherAndLint(registry)
		require.NoError(t, err)
		require.Empty(t, problems)
	})
}
