package main

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/daymill/daymill"

// listed is the output of `go list` for a package: its imports without tests, and its dependencies.
type listed struct {
	path          string
	imports, deps []string
}

// within reports whether a package is one of the roots or below one.
func within(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return path == root || strings.HasPrefix(path, root+"/")
	})
}

// rooms returns the parts in AGENTS.md, with the parts that each may import. No arrow points upward: a room comes after those that it
// may import.
func rooms() []struct{ name, at, imports string } {
	return []struct{ name, at, imports string }{
		{"migrations", "migrations", ""},
		{"foundation", "internal", "migrations"},
		{"rollup", "internal/rollup", "foundation"},
		{"capture", "internal/capture", "foundation"},
		{"view", "internal/view", "capture foundation"},
		{"archive", "internal/archive", "capture foundation"},
		{"jobs", "jobs", "capture foundation"}, // TestLayout says which packages.
		{"config", "internal/config", "view capture foundation"},
		{"worker", "internal/worker", "jobs archive view capture rollup foundation"},
		{"ui", "ui", "worker config jobs archive view capture rollup foundation"},
		{"test", "internal/test", "ui worker jobs archive view capture rollup foundation"},
		{"cmd", "cmd", "ui worker config jobs archive view capture rollup foundation"},
		{"top", "", ""},
	}
}

// TestRooms checks which part imports which.
func TestRooms(t *testing.T) {
	t.Parallel()
	all := rooms()
	roomOf := func(path string) int { // The most specific one.
		best := len(all) - 1
		for i, room := range all {
			if within(path, module+"/"+room.at) && len(room.at) > len(all[best].at) {
				best = i
			}
		}
		return best
	}
	for _, p := range listPackages(t) {
		from := roomOf(p.path)
		for _, path := range p.imports {
			if to := roomOf(path); within(path, module) && to != from {
				require.Contains(t, strings.Fields(all[from].imports), all[to].name, "%s imports %s", p.path, path)
				require.Less(t, to, from, "%s imports %s, which is above it", p.path, path)
			}
		}
	}
}

// TestLayout checks what packages may depend on, in addition to TestRooms. golangci-lint's depguard does the same in the editor, but skips generated
// files and indirect dependencies.
func TestLayout(t *testing.T) {
	t.Parallel()

	type rule struct {
		forbidden  []string // packages and all below them
		transitive bool     // whether indirect imports are also forbidden
		from       []string // for these packages and all below them
		except     []string
		allowed    []string // exceptions of forbidden
	}
	rules := map[string]rule{
		"ApplicationsImportLittle": {
			forbidden:  []string{module + "/internal", module + "/ui", module + "/migrations"},
			transitive: true,
			from:       []string{module + "/jobs"},
			allowed:    []string{module + "/internal/date", module + "/internal/capture/change"},
		},
		"InternalKnowsNoHTTP": {
			forbidden: []string{"net/http"},
			from:      []string{module + "/internal"},
			except: []string{
				module + "/internal/test/pagebench",                                                                                                                             // A separate program, which loads the pages.
				module + "/internal/webhook", module + "/internal/capture/sink/webhook", module + "/internal/capture/sink/search", module + "/internal/capture/sink/clickhouse", // They call others.
				module + "/internal/test/clickhousetest", module + "/internal/test/bench", // Its webhook receives.
			},
		},
		"MetricsAndTracesAreForCmd": {
			forbidden:  []string{"github.com/prometheus", "go.opentelemetry.io", "google.golang.org/grpc", "github.com/exaring"},
			transitive: true,
			from:       []string{module},
			// The proxy that delays answers in the benchmark has Prometheus counters.
			except: []string{
				module + "/cmd", module + "/internal/telemetry/prom", module + "/internal/telemetry/trace", module + "/internal/test/bench", module + "/internal/test/promtest",
				module + "/internal/archive/bucket", // The clients of clouds.
			},
		},
		"OnlyPackagesBelowReadTheDatabase": {
			forbidden: []string{module + "/internal/db"},
			from:      []string{module},
			except:    []string{module + "/internal", module + "/jobs", module + "/cmd"},
		},
		"OnlyJobsAndCmdKnowRiver": {
			forbidden:  []string{"github.com/riverqueue"},
			transitive: true,
			from:       []string{module},
			// Tests' databases have River's tables, created in the same way as by the command. Pages reach River through jobs.
			except: []string{
				module + "/cmd", module + "/jobs", module + "/internal/worker", module + "/internal/test/pgtest", module + "/internal/test/pagebench",
				module + "/internal/test/chaos", module + "/internal/test/load", module + "/ui",
			},
		},
		"PagesKnowNoRiver": {
			forbidden: []string{"github.com/riverqueue"},
			from:      []string{module + "/ui"},
		},
		"PartsKnowNoPage": {
			forbidden:  []string{module + "/ui"},
			transitive: true,
			from: []string{
				module + "/ui/calendar", module + "/ui/component", module + "/ui/door", module + "/ui/format", module + "/ui/page", module + "/ui/reply",
				module + "/ui/static",
			},
			allowed: []string{
				module + "/ui/calendar", module + "/ui/component", module + "/ui/door", module + "/ui/format", module + "/ui/page", module + "/ui/reply",
			},
		},
		"ToolsOfTestsAreNotInTheBinary": {
			forbidden: []string{
				"github.com/fergusstrange", "github.com/lib/pq", "github.com/Shopify/toxiproxy", "github.com/chromedp", "github.com/getkin/kin-openapi", "github.com/rs/zerolog",
				"github.com/emersion", "github.com/stretchr", "pgregory.net/rapid", module + "/internal/test",
			},
			transitive: true,
			from:       []string{module + "/cmd"},
		},
		"TestHelpersStayInTests": {
			forbidden:  []string{module + "/internal/test/pgtest", "github.com/stretchr"},
			transitive: true,
			from:       []string{module},
			except:     []string{module + "/internal/test/pgtest", module + "/internal/test/browser", module + "/internal/test/redistest", module + "/internal/test/clickhousetest", module + "/internal/test/promtest", module + "/internal/test/servertest", module + "/internal/capture/sink/sinktest"},
		},
	}

	packages := listPackages(t)
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, p := range packages {
				if !within(p.path, rule.from...) || within(p.path, rule.except...) {
					continue
				}
				arrives := p.imports
				if rule.transitive {
					arrives = p.deps
				}
				for _, path := range arrives {
					require.False(t, within(path, rule.forbidden...) && !within(path, rule.allowed...), "%s may not depend on %s", p.path, path)
				}
			}
		})
	}
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "go", "list",
		"-f", `{{.ImportPath}}|{{join .Imports ","}}|{{join .Deps ","}}`, module+"/...")
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	require.NoError(t, err, stderr.String())

	var packages []listed
	for line := range strings.Lines(string(output)) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		require.Len(t, fields, 3)
		packages = append(packages, listed{
			path: fields[0], imports: strings.Split(fields[1], ","), deps: strings.Split(fields[2], ","),
		})
	}
	require.Greater(t, len(packages), 10)
	return packages
}
