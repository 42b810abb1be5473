package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// stoppedClock does not move, so that reports are always the same.
type stoppedClock struct{}

func (stoppedClock) Now() time.Time { return time.Date(2026, time.March, 10, 12, 0, 0, 0, time.UTC) }

func (stoppedClock) Sleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }

// importBundle runs `daymill import` on a new database.
type importBundle struct {
	db             *pgtest.DB
	dir            string
	stdin          io.Reader
	stdout, stderr string // of the latest command
}

// run returns the exit code. Output has the files' names without their directory.
func (b *importBundle) run(ctx context.Context, args ...string) int {
	var stdout, stderr bytes.Buffer
	a := &app{stdin: b.stdin, stdout: &stdout, stderr: &stderr, testClock: stoppedClock{}}
	code := execute(ctx, a, append([]string{"--database-url", b.db.URL}, args...))
	names := strings.NewReplacer(b.dir+"/", "")
	b.stdout, b.stderr = names.Replace(stdout.String()), names.Replace(stderr.String())
	return code
}

// file writes a file and returns its path.
func (b *importBundle) file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(b.dir, name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// requireRows requires numbers of rows and of requests.
func (b *importBundle) requireRows(t *testing.T, events, requests int) {
	t.Helper()
	var gotEvents, gotRequests int
	err := b.db.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM analytics.events),
		(SELECT count(*) FROM analytics.rollup_requests WHERE requested_via = 'import')`).Scan(&gotEvents, &gotRequests)
	require.NoError(t, err)
	require.Equal(t, events, gotEvents)
	require.Equal(t, requests, gotRequests)
}

func TestImport(t *testing.T) {
	t.Parallel()

	setup := func(t *testing.T, entityType entity.Type, zone string) *importBundle {
		t.Helper()
		b := &importBundle{
			db: pgtest.Database(t, pgtest.Installed{EntityType: entityType, TimeZone: zone}), dir: t.TempDir(),
			stdin: strings.NewReader(""),
		}
		require.Equal(t, exitOK, b.run(t.Context(), "source", "create"), b.stderr)
		return b
	}
	const (
		header   = "entity_id,event_type,created_at\n"
		row      = "1,view,2026-03-01T00:00:00Z\n"
		upcoming = "1,view,2026-03-12T00:00:00Z\n"
		bad      = "x,view,2026-03-01T00:00:00Z\n"
		imported = "a.csv: imported 1 of 1 row, 1 date (2026-03-01), 0 ms\n"
		asked    = "1 date requested: a running worker rolls them up (`daymill worker` starts one)\n"
	)

	t.Run("BadRows", func(t *testing.T) {
		t.Parallel()
		b := setup(t, entity.Bigint, "UTC")
		path := b.file(t, "a.csv", header+row+strings.Repeat(bad, 22))
		require.Equal(t, exitUsage, b.run(t.Context(), "import", path))
		require.Empty(t, b.stdout)
		require.Equal(t, `a.csv:3: entity id "x" is not a whole number of 64 bits
daymill: import a.csv: too many bad rows: 1 of the first 2, and at most 0 are allowed (nothing of it was imported; --dry-run shows all bad rows, --max-errors leaves some out)
`, b.stderr)
		b.requireRows(t, 0, 0)

		require.Equal(t, exitOK, b.run(t.Context(), "import", path, "--max-errors", "22"))
		require.Equal(t, "a.csv: imported 1 of 23 rows, 22 bad, 1 date (2026-03-01), 0 ms\n"+asked, b.stdout)
		require.Equal(t, 21, strings.Count(b.stderr, "\n"), b.stderr)
		require.Contains(t, b.stderr, "a.csv:22: entity id")
		require.Contains(t, b.stderr, "a.csv: 2 more bad rows not shown\n")
		b.requireRows(t, 1, 1)
	})

	t.Run("Articles", func(t *testing.T) {
		t.Parallel()
		for _, log := range pgtest.Articles(t) {
			b := setup(t, entity.Bigint, "America/Sao_Paulo")
			require.Equal(t, exitOK, b.run(t.Context(), append([]string{"import", log.Path}, pgtest.ArticlesImport()...)...), b.stderr)
			require.Equal(t, fmt.Sprintf("%s: imported %s of %[2]s rows, %d dates (%s..%s), 0 ms\n"+
				"%[3]d dates requested: a running worker rolls them up (`daymill worker` starts one)\n",
				log.Path, humanize.Comma(int64(log.Events)), log.Dates["America/Sao_Paulo"], log.First, log.Last), b.stdout)
			b.requireRows(t, log.Events, log.Dates["America/Sao_Paulo"])
		}
	})

	t.Run("ColumnWithoutZone", func(t *testing.T) {
		t.Parallel()
		b := setup(t, entity.Bigint, "UTC")
		_, err := b.db.Exec(t.Context(), `CREATE TABLE "Clicks" (item int, kind text, "when" timestamp, n serial);
			CREATE INDEX ON "Clicks" ("when")`)
		require.NoError(t, err)
		require.Equal(t, exitOK, b.run(t.Context(), "source", "set", "--table", `public."Clicks"`, "--entity", "item",
			"--type", "kind", "--time", `"when"`, "--time-zone", "America/Sao_Paulo", "--where", "item > 0"), b.stderr)
		path := b.file(t, "a.csv", header+"1,view,2026-03-02T01:30:00Z\n0,view,2026-03-02T01:30:00Z\n")
		require.Equal(t, exitOK, b.run(t.Context(), "import", path), b.stderr)
		require.Contains(t, b.stdout, "only rows with item > 0 are events: the source has that condition\n")
		var kept, read string
		err = b.db.QueryRow(t.Context(), `SELECT "when"::text, (SELECT (created_at AT TIME ZONE 'UTC')::text FROM analytics.events)
			FROM "Clicks" WHERE item = 1`).Scan(&kept, &read)
		require.NoError(t, err)
		require.Equal(t, "2026-03-01 22:30:00", kept)
		require.Equal(t, "2026-03-02 01:30:00", read)
	})

	t.Run("DryRun", func(t *testing.T) {
		t.Parallel()
		b := setup(t, entity.Bigint, "UTC")
		path := b.file(t, "a.csv", header+row)
		require.Equal(t, exitOK, b.run(t.Context(), "import", "--dry-run", path))
		require.Equal(t, "a.csv: would import 1 of 1 row, 1 date (2026-03-01), 0 ms\n", b.stdout)
		b.requireRows(t, 0, 0)
		path = b.file(t, "b.csv", header+bad+bad+row)
		require.Equal(t, exitUsage, b.run(t.Context(), "import", "--dry-run", path))
		require.Equal(t, 3, strings.Count(b.stderr, "\n"), b.stderr)
		require.Contains(t, b.stderr, "2 of the first 3, and at most 0 are allowed (it could not be imported)")
	})

	t.Run("DatesToCome", func(t *testing.T) {
		t.Parallel()
		b := setup(t, entity.Bigint, "UTC")
		require.Equal(t, exitOK, b.run(t.Context(), "import", b.file(t, "a.csv", header+row+upcoming)), b.stderr)
		require.Equal(t, "a.csv: imported 2 of 2 rows, 2 dates (2026-03-01..2026-03-12), 0 ms\n"+
			"2 dates requested: a running worker rolls them up (`daymill worker` starts one)\n"+
			"1 date of them not over yet: a worker rolls up a date once it is over\n", b.stdout)
		b.requireRows(t, 2, 2)
	})

	t.Run("Files", func(t *testing.T) {
		t.Parallel()
		b := setup(t, entity.Bigint, "UTC")
		first, second, third := b.file(t, "a.csv", header+row), b.file(t, "b.csv", header+row+bad), b.file(t, "c.csv", header+row)
		require.Equal(t, exitFailed, b.run(t.Context(), "import", first, second, third))
		require.Equal(t, imported, b.stdout)
		require.Contains(t, b.stderr, "daymill: import b.csv: too many bad rows: 1 of the first 2, and at most 0 are allowed (nothing of it "+
			"was imported; before it: a.csv; not tried: c.csv; --dry-run shows all bad rows, --max-errors leaves some out)\n")
		b.requireRows(t, 1, 1)

		require.Equal(t, exitUsage, b.run(t.Context(), "import", first, b.dir+"/none.csv"))
		require.Contains(t, b.stderr, "there is no file none.csv: name files relative to this folder, or with their whole path")
		require.Equal(t, exitUsage, b.run(t.Context(), "import", first, b.dir))
		require.Contains(t, b.stderr, "is a directory")
		b.requireRows(t, 1, 1)
	})

	t.Run("Interrupted", func(t *testing.T) {
		t.Parallel()
		b := setup(t, entity.Bigint, "UTC")
		ctx, cancel := context.WithCancel(t.Context())
		silent, writer := io.Pipe()
		t.Cleanup(func() { _ = writer.Close() })
		b.stdin = silent
		go func() {
			_, _ = io.WriteString(writer, header+row) // It returns once all of it is read.
			cancel()
		}()
		require.Equal(t, exitFailed, b.run(ctx, "import"))
		require.Equal(t, "daymill: import standard input: interrupted (nothing of it was imported)\n", b.stderr)
		b.requireRows(t, 0, 0)
	})

	t.Run("NoSource", func(t *testing.T) {
		t.Parallel()
		b := &importBundle{db: pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}), dir: t.TempDir(), stdin: strings.NewReader("")}
		require.Equal(t, exitFailed, b.run(t.Context(), "import"))
		require.Contains(t, b.stderr, "no source is set: run `daymill source set")
	})

	t.Run("Sales", func(t *testing.T) {
		t.Parallel()
		for _, log := range pgtest.Sales(t) {
			b := setup(t, entity.Text, "Europe/London")
			require.Equal(t, exitOK, b.run(t.Context(), append([]string{"import", log.Path}, pgtest.SalesImport()...)...), b.stderr)
			require.Contains(t, b.stdout, fmt.Sprintf(": imported %s of %[1]s rows, %d dates (%s..%s), 0 ms\n",
				humanize.Comma(int64(log.Events)), log.Dates["Europe/London"], log.First, log.Last))
			b.requireRows(t, log.Events, log.Dates["Europe/London"])
		}
	})

	t.Run("StandardInput", func(t *testing.T) {
		t.Parallel()
		b := setup(t, entity.Bigint, "UTC")
		for n, args := range [][]string{{"import"}, {"import", "-"}} {
			b.stdin = strings.NewReader(`{"entity_id":1,"event_type":"view","created_at":"2026-03-01 00:00"}`)
			require.Equal(t, exitOK, b.run(t.Context(), args...), b.stderr)
			require.Equal(t, strings.ReplaceAll(imported, "a.csv", "standard input")+asked, b.stdout)
			b.requireRows(t, n+1, n+1)
		}
	})

	t.Run("Usage", func(t *testing.T) {
		t.Parallel()
		b := setup(t, entity.Bigint, "UTC")
		path := b.file(t, "a.csv", header+row)
		for _, test := range []struct {
			want string
			args []string
		}{
			{`--chunk is 0: give a number from 1 to 500000`, []string{"--chunk", "0"}},
			{`--delimiter is "ab": give one character, such as ; or \t`, []string{"--delimiter", "ab"}},
			{`--map "VIEW": write it as FROM=TO, such as LIKE=click`, []string{"--map", "VIEW"}},
			{`--map renames "a" twice, to "b" and to "c"`, []string{"--map", "a=b,a=c"}},
			{`--max-errors is -1: give 0 or more`, []string{"--max-errors=-1"}},
			{`standard input can be read only once`, []string{"-", "-"}},
			{`--time-format: "unix" is not a time format`, []string{"--time-format", "unix"}},
			{`--time-zone: there is no time zone "Mars/Olympus"`, []string{"--time-zone", "Mars/Olympus"}},
			{`--type and --type-value can't be used together`, []string{"--type", "a", "--type-value", "b"}},
			{`a.csv: there is no column "at": choose one with --time`, []string{"--time", "at"}},
		} {
			require.Equal(t, exitUsage, b.run(t.Context(), append([]string{"import", path}, test.args...)...), test.want)
			require.Contains(t, b.stderr, test.want)
		}
		b.requireRows(t, 0, 0)
		require.Equal(t, exitOK, b.run(t.Context(), "import", path, "--type-value", "sale", "--delimiter", ",", "--map", "sale=save"), b.stderr)
		var kind string
		require.NoError(t, b.db.QueryRow(t.Context(), "SELECT event_type FROM analytics.events").Scan(&kind))
		require.Equal(t, "save", kind)
	})
}
