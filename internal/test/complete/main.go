// Command complete reads the output of `go test -json` for all packages. It fails if a test was skipped, or if a test in the sources did not run
// to its end. Otherwise, a package that is left out or a process that ends early would look like success.
//
//	go run ./internal/test/complete tmp/test.json
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "complete:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called.
	}
}

func run(ctx context.Context, arguments []string, out io.Writer) error {
	if len(arguments) != 1 {
		return errors.New("give it the file that `go test -json` wrote")
	}
	file, err := os.Open(arguments[0])
	if err != nil {
		return fmt.Errorf("open what the tests wrote (`make test` writes it): %w", err)
	}
	defer file.Close()
	ended, err := read(file)
	if err != nil {
		return err
	}
	want, err := list(ctx)
	if err != nil {
		return err
	}
	problems := judge(want, ended)
	for _, problem := range problems {
		fmt.Fprintln(out, problem)
	}
	if len(problems) > 0 {
		return fmt.Errorf("%d tests did not do their work", len(problems))
	}
	fmt.Fprintf(out, "%d tests of the sources ran, with their subtests %d; none was skipped\n", len(want), len(ended))
	return nil
}

// test is a test's package and name.
type test struct{ Package, Name string }

func (t test) String() string { return t.Package + " " + t.Name }

// read returns how each test and subtest ended: pass, fail or skip. If a test ran more than once, the last result counts.
func read(events io.Reader) (map[test]string, error) {
	ended := map[test]string{}
	for decoder := json.NewDecoder(events); ; {
		var event struct {
			Action  string `json:"Action"`  //nolint:tagliatelle // It is go test's.
			Package string `json:"Package"` //nolint:tagliatelle // As above.
			Test    string `json:"Test"`    //nolint:tagliatelle // As above.
		}
		switch err := decoder.Decode(&event); {
		case errors.Is(err, io.EOF):
			return ended, nil
		case err != nil:
			return nil, fmt.Errorf("read what the tests wrote: %w", err)
		}
		if event.Test != "" && slices.Contains([]string{"pass", "fail", "skip"}, event.Action) {
			ended[test{event.Package, event.Test}] = event.Action
		}
	}
}

// judge returns what is wrong, one line per test, in order.
func judge(want []test, ended map[test]string) []string {
	var problems []string
	for t, how := range ended {
		if how != "pass" {
			problems = append(problems, how+": "+t.String())
		}
	}
	for _, t := range want {
		if ended[t] == "" {
			problems = append(problems, "did not run: "+t.String())
		}
	}
	slices.Sort(problems)
	return problems
}

// list returns the tests and fuzz targets in the sources of all packages, for this machine's platform.
func list(ctx context.Context) ([]test, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "list", "-json=Dir,ImportPath,TestGoFiles,XTestGoFiles", "./...")
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the packages: %w: %s", err, stderr.String())
	}
	var all []test
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p struct {
			Dir          string   `json:"Dir"`          //nolint:tagliatelle // It is go list's.
			ImportPath   string   `json:"ImportPath"`   //nolint:tagliatelle // As above.
			TestGoFiles  []string `json:"TestGoFiles"`  //nolint:tagliatelle // As above.
			XTestGoFiles []string `json:"XTestGoFiles"` //nolint:tagliatelle // As above.
		}
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("list the packages: %w", err)
		}
		for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			names, err := parse(filepath.Join(p.Dir, name))
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				all = append(all, test{p.ImportPath, name})
			}
		}
	}
}

// testName matches the names of tests that go test runs. TestMain is not one of them, and Testing is not a test.
var testName = regexp.MustCompile(`^(Test|Fuzz)([^a-z].*)?$`)

// parse returns the names of the tests in a file.
func parse(path string) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("look for tests: %w", err)
	}
	var names []string
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if ok && f.Recv == nil && testName.MatchString(f.Name.Name) && f.Name.Name != "TestMain" {
			names = append(names, f.Name.Name)
		}
	}
	return names, nil
}
