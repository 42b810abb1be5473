package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestApplicationModule: an application that imports package jobs compiles River, pgx and a few packages of Daymill. Its go.mod and go.sum gain
// nothing that only tests, the pages or the demo need.
func TestApplicationModule(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	here, err := filepath.Abs("../..")
	require.NoError(t, err)
	write := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	write("go.mod", "module example.com/app\n\ngo 1.26.0\n\nrequire "+module+" v0.0.0\n\nreplace "+module+" => "+here+"\n")
	write("main.go", "package main\n\nimport \""+module+"/jobs\"\n\nfunc main() { println(jobs.QueueRollup) }\n")
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		// The modules are in the module cache, and were checked against go.sum when these tests were built. Without go.sum, go
		// also reads the go.mod of older versions, which it may have to download. A machine may have a proxy and no access to the
		// checksum database.
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOSUMDB=off", "GOWORK=off")
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, string(output))
		return string(output)
	}
	run("build", "-o", os.DevNull, ".")

	gained := func(name string, pattern string) (modules []string) {
		content, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		for _, found := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(content), -1) {
			modules = append(modules, found[1])
		}
		slices.Sort(modules)
		return slices.Compact(modules)
	}
	wanted := []string{
		"github.com/jackc/pgx/v5",
		"github.com/riverqueue/river",
		"github.com/riverqueue/river/riverdriver",
		"github.com/riverqueue/river/rivershared",
		"github.com/riverqueue/river/rivertype",
		"github.com/tidwall/gjson",
		"github.com/tidwall/match",
		"github.com/tidwall/pretty",
		"github.com/tidwall/sjson",
		"golang.org/x/sync",
	}
	require.Equal(t, wanted, gained("go.mod", `(?m)^\s(\S+) v\S+ // indirect$`))
	require.Equal(t, wanted, gained("go.sum", `(?m)^(\S+) v`))

	var ours []string
	for line := range strings.Lines(run("list", "-deps", module+"/jobs")) {
		if path := strings.TrimSpace(line); within(path, module) {
			ours = append(ours, strings.TrimPrefix(path, module+"/"))
		}
	}
	slices.Sort(ours)
	require.Equal(t, []string{"internal/capture/change", "internal/date", "jobs"}, ours)
}
