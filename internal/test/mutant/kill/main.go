// Command kill breaks the code, one safeguard after another, and runs the tests that have to notice. It prints how long that took for each, and
// fails if one is not noticed. It does not change the repository's files: the builds use an overlay.
//
//	go run ./internal/test/mutant/kill -only '^Fence/'
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/test/mutant"
)

func main() {
	only := flag.String("only", "", "a pattern of the mutants' names; all if empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, *only)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kill:", err)
		os.Exit(1)
	}
}

// verdict is the result of a mutant.
type verdict int

const (
	killed    verdict = iota
	survived          // no test failed
	stillborn         // it does not compile, or no test ran
)

func run(ctx context.Context, out io.Writer, only string) error {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	dir, err := os.MkdirTemp("", "daymill-mutants-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer os.RemoveAll(dir)
	root, err := filepath.Abs(".") // Some tests build a program in another directory.
	if err != nil {
		return fmt.Errorf("find the repository: %w", err)
	}

	var left []string
	count := 0
	for _, m := range list() {
		if !pattern.MatchString(m.name) {
			continue
		}
		count++
		v, took, text, err := try(ctx, root, dir, m)
		if err != nil {
			return err
		}
		switch v {
		case killed:
			fmt.Fprintf(out, "%-40s killed in %.1f s by %s\n", m.name, took.Seconds(), text)
		case survived:
			left = append(left, m.name)
			fmt.Fprintf(out, "%-40s SURVIVED %s\n", m.name, m.tests)
		case stillborn:
			left = append(left, m.name)
			fmt.Fprintf(out, "%-40s did not run:\n%s\n", m.name, text)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("%d of %d mutants were not noticed: %s", len(left), count, strings.Join(left, ", "))
	}
	fmt.Fprintf(out, "%d mutants, all noticed\n", count)
	return nil
}

// ran matches a package whose tests ran.
var ran = regexp.MustCompile(`(?m)^ok\s+\S+\s+[0-9.]+s$`)

var failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

var hung = regexp.MustCompile(`panic: test timed out after \S+\n\s+running tests:\n\s+(\S+)`)

// try runs the tests on a mutant. text is the test that noticed, or what went wrong.
func try(ctx context.Context, root, dir string, m broken) (v verdict, took time.Duration, text string, err error) {
	overlay, err := mutant.Overlay(root, dir, m.edits...)
	if err != nil {
		return 0, 0, "", fmt.Errorf("%s: %w", m.name, err)
	}
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-failfast", "-timeout", "2m", "-run", m.tests, m.pkg)
	// The programs that the tests build have the mutant too.
	cmd.Env = append(os.Environ(), "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+overlay))
	cmd.Stdout, cmd.Stderr = &output, &output
	start := time.Now() //nolint:forbidigo // Only printed.
	err = cmd.Run()
	took = time.Since(start)
	if ctx.Err() != nil {
		return 0, 0, "", context.Cause(ctx)
	}
	failed := err != nil
	if _, is := errors.AsType[*exec.ExitError](err); failed && !is {
		return 0, 0, "", fmt.Errorf("run the tests: %w", err)
	}
	found := failedTest.FindAllStringSubmatch(output.String(), -1)
	switch {
	case len(found) > 0:
		return killed, took, found[len(found)-1][1], nil
	case hung.MatchString(output.String()): // A test that hangs has noticed the mutant.
		return killed, took, hung.FindStringSubmatch(output.String())[1], nil
	case failed, !ran.MatchString(output.String()):
		return stillborn, took, output.String(), nil //nolint:nilerr // That the tests failed is what the verdict says.
	default:
		return survived, took, "", nil
	}
}
