package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view/definition"
)

// viewBundle runs the program itself, with a worker, on a database whose role has a password.
type viewBundle struct {
	db, crm *pgtest.DB
	binary  string
	dir     string
	env     []string
}

const viewPassword = "hunter2secret"

func newViewBundle(t *testing.T, binary string) *viewBundle {
	t.Helper()
	installed := pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}
	b := &viewBundle{binary: binary, dir: t.TempDir()}
	b.db = pgtest.Database(t, installed)
	b.crm = pgtest.On(t, b.db.Server, installed)
	b.env = append(os.Environ(), "DATABASE_URL="+withPassword(t, b.db.URL), "SHOP_URL="+withPassword(t, b.db.URL), "CRM_URL="+withPassword(t, b.crm.URL))
	b.write(t, "daymill.yaml", "databases: {shop: $SHOP_URL, crm: $CRM_URL, postgres: $SHOP_URL}\n")
	return b
}

func (b *viewBundle) write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(b.dir, name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func (b *viewBundle) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.binary, args...)
	cmd.Dir, cmd.Env = b.dir, b.env
	return cmd
}

// ends runs the program, which has to end with an exit code, and returns its output and errors.
func (b *viewBundle) ends(t *testing.T, code int, args ...string) string {
	t.Helper()
	output, err := b.command(t.Context(), append([]string{"view"}, args...)...).CombinedOutput()
	require.NotContains(t, string(output), viewPassword)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		require.Equal(t, code, exit.ExitCode(), "%v: %s", args, output)
		return string(output)
	}
	require.NoError(t, err)
	require.Equal(t, exitOK, code, "%v: %s", args, output)
	return string(output)
}

func (b *viewBundle) run(t *testing.T, args ...string) string {
	t.Helper()
	return b.ends(t, exitOK, args...)
}

// worker runs a worker until the test ends. Its log must have no password.
func (b *viewBundle) worker(t *testing.T) {
	t.Helper()
	var output strings.Builder
	cmd := b.command(context.WithoutCancel(t.Context()), "worker", "--pace", "0", "--log-level", "debug")
	cmd.Stdout, cmd.Stderr = &output, &output
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		_ = cmd.Wait()
		require.NotContains(t, output.String(), viewPassword)
		require.Contains(t, output.String(), "worker started", "its log was not empty")
	})
}

// until waits until a query returns true.
func (b *viewBundle) until(t *testing.T, sql string) {
	t.Helper()
	require.Eventually(t, func() bool {
		var is bool
		return b.db.QueryRow(t.Context(), sql).Scan(&is) == nil && is
	}, 2*time.Minute, 50*time.Millisecond, sql)
}

func (b *viewBundle) text(t *testing.T, sql string) (text string) {
	t.Helper()
	require.NoError(t, b.db.QueryRow(t.Context(), "SELECT coalesce(("+sql+"), '')").Scan(&text), sql)
	return text
}

func executeSQL(t *testing.T, db *pgtest.DB, sql string) {
	t.Helper()
	_, err := db.Exec(t.Context(), sql)
	require.NoError(t, err, sql)
}

// withPassword adds a password to a URL. The server trusts all connections from this machine.
func withPassword(t *testing.T, text string) string {
	t.Helper()
	at, err := url.Parse(text)
	require.NoError(t, err)
	at.User = url.UserPassword(at.User.Username(), viewPassword)
	return at.String()
}

// viewTables creates the tables of the definitions in testdata.
const viewTables = `
	CREATE TABLE public.users (id uuid PRIMARY KEY, email text, json_transform jsonb, status integer);
	CREATE TABLE public.profiles (user_id uuid PRIMARY KEY, age integer);
	INSERT INTO public.users VALUES ('00000000-0000-0000-0000-000000000001', 'a@x', '{"field1_in_json": 7, "field2_in_json": "seven"}', 1);
	INSERT INTO public.profiles VALUES ('00000000-0000-0000-0000-000000000001', 30);
	CREATE TABLE public.orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL, total numeric(12,2), placed_at timestamptz DEFAULT now(), state smallint NOT NULL);
	INSERT INTO public.orders VALUES (1, 7, 12.50, '2026-01-01 10:00:00.123456+00', 0), (2, 7, NULL, '2026-01-02', 9)`

const viewCustomers = `
	CREATE SCHEMA sales;
	CREATE TABLE sales."Customer" (id bigint PRIMARY KEY, "Full Name" text, tags text[], profile jsonb);
	INSERT INTO sales."Customer" VALUES (7, 'Ann "A" O''Neil', '{"a\\b"}', '{"city": "X", "o''clock": "y", "limit": 12.5, "since": "2020-01-01T00:00:00Z"}')`

// TestView runs the program itself.
func TestView(t *testing.T) {
	t.Parallel()
	path := binary(t)
	t.Run("Apply", func(t *testing.T) {
		t.Parallel()
		testViewApply(t, path)
	})
	t.Run("Build", func(t *testing.T) {
		t.Parallel()
		testViewBuild(t, path)
	})
	t.Run("Definitions", func(t *testing.T) {
		t.Parallel()
		testViewDefinitions(t, path)
	})
	t.Run("Paused", func(t *testing.T) {
		t.Parallel()
		testViewPaused(t, path)
	})
	t.Run("Verbs", func(t *testing.T) {
		t.Parallel()
		testViewVerbs(t, path)
	})
}

// testViewDefinitions: InsightForge's definitions can be used unchanged, also those beside the project if they exist. Their rows are right, and a
// broken one is refused with the place of its mistake.
func testViewDefinitions(t *testing.T, binary string) {
	t.Helper()
	folders := []string{filepath.Join(pgtest.Root(t), "internal/view/definition/testdata")}
	if beside := filepath.Join(pgtest.Root(t), "../shared/data/views"); exists(beside) {
		folders = append(folders, beside)
	}
	for _, folder := range folders {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			t.Parallel()
			b := newViewBundle(t, binary)
			executeSQL(t, b.db, viewTables)
			executeSQL(t, b.crm, viewCustomers)
			b.worker(t)
			require.Contains(t, b.ends(t, exitUsage, "apply", "-f", filepath.Join(folder, "user_basic_info_broken.json")),
				"user_basic_info_broken.json:2:33: a comma is missing here, before the item on line 3")
			for _, name := range []string{"user_basic_info", "user_basic_info_endpoints", "order_report"} {
				file := filepath.Join(folder, name+".json")
				require.Contains(t, b.run(t, "apply", "-f", file, "--dry-run"), "create  view "+name)
				require.Contains(t, b.run(t, "apply", "-f", file), "create  view "+name)
				b.until(t, "SELECT to_regclass('views."+name+"') IS NOT NULL")
				require.Contains(t, b.run(t, "apply", "-f", file), "keep    view "+name)
				b.run(t, "verify", name)
			}
			require.Equal(t, "a@x,7,seven,Создан,30,", b.text(t, "SELECT concat(email, ',', field1_view_column, ',', field2_view_column, ',', status_label, ',', age, ',', test) FROM views.user_basic_info"))
			require.Equal(t, "1,new,Ann \"A\" O'Neil,X,y; 2,it's \"lost\",Ann \"A\" O'Neil,X,y",
				b.text(t, "SELECT string_agg(concat_ws(',', order_id, state_name, note, customer_name, city, odd_key), '; ' ORDER BY order_id) FROM views.order_report"))
		})
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

const staffView = `
name: staff
tables:
  - {table: people, columns: [{column: id, key: true}, name]}
  - {table: teams, left: true, join: {team: id}, columns: [{title: team_title}]}
`

// testViewVerbs: each verb does what its help says, with a worker and without one.
func testViewVerbs(t *testing.T, binary string) {
	t.Helper()
	b := newViewBundle(t, binary)
	executeSQL(t, b.db, `CREATE TABLE public.teams (id integer PRIMARY KEY, title text); INSERT INTO public.teams VALUES (1, 'red');
		CREATE TABLE public.people (id integer PRIMARY KEY, name text, team integer); INSERT INTO public.people VALUES (1, 'ann', 1), (2, 'bob', NULL)`)
	require.Contains(t, b.run(t, "list"), "there are no views")
	for _, verb := range []string{"show", "sql", "build", "rebuild", "refresh", "verify", "pause", "resume", "remove"} {
		require.Contains(t, b.ends(t, exitUsage, verb, "nobody"), "there is no view of that name", verb)
	}
	for _, verb := range []string{"build", "rebuild", "refresh", "verify"} {
		require.Contains(t, b.ends(t, exitUsage, verb, "staff", "--pace", "2000"), "--pace is 2000: give a number from 0 (no pauses) to 1000", verb)
	}
	file := b.write(t, "staff.yaml", staffView)
	require.Contains(t, b.ends(t, exitUsage, "apply", "-f", b.write(t, "wrong.yaml", strings.Replace(staffView, "table: people", "table: persons", 1))), "wrong.yaml:4:5: database app has no table public.persons")
	require.Contains(t, b.run(t, "apply", "-f", file), `no index of "public"."people" begins with "team"`)
	require.Contains(t, b.run(t, "show", "staff"), "building")
	b.worker(t)
	b.until(t, "SELECT to_regclass('views.staff') IS NOT NULL")
	require.Contains(t, b.run(t, "build", "staff"), "view staff has nothing to do")
	require.Regexp(t, `staff +serving`, b.run(t, "list"))
	sql := b.run(t, "sql", "staff")
	require.Contains(t, sql, `CREATE TABLE "views"."staff"`)
	require.Contains(t, sql, `LEFT JOIN "public"."teams"`)

	executeSQL(t, b.db, "UPDATE public.teams SET title = 'blue'")
	b.until(t, "SELECT team_title = 'blue' FROM views.staff WHERE id = 1")
	executeSQL(t, b.db, "UPDATE views.staff SET name = 'wrong'")
	require.Contains(t, b.ends(t, exitDrift, "verify", "staff"), "2 differ")
	require.Contains(t, b.ends(t, exitUsage, "refresh", "staff", "--key", "abc"), `"abc" is not a value of type integer`)
	b.run(t, "refresh", "staff", "--key", "1", "--wait")
	require.Regexp(t, `1 differs, [^$]*view staff differs from its SELECT in 1 key\n$`, b.ends(t, exitDrift, "verify", "staff"))
	require.Equal(t, "ann wrong", b.text(t, "SELECT string_agg(name, ' ' ORDER BY id) FROM views.staff"))
	require.Contains(t, b.run(t, "verify", "staff", "--repair"), "1 repaired")
	require.Contains(t, b.run(t, "rebuild", "staff", "--wait"), "build done")
	var shown struct {
		State string `json:"state"`
		Tasks []struct {
			Kind  string `json:"kind"`
			State string `json:"state"`
		} `json:"tasks"`
	}
	require.NoError(t, json.Unmarshal([]byte(b.run(t, "show", "staff", "--json")), &shown))
	require.Equal(t, "serving", shown.State)
	require.Equal(t, "build", shown.Tasks[0].Kind)

	b.run(t, "pause", "staff", "--because", "maintenance")
	require.Contains(t, b.run(t, "show", "staff"), "paused: maintenance")
	executeSQL(t, b.db, "UPDATE public.people SET name = 'eve' WHERE id = 2")
	b.run(t, "resume", "staff")
	b.until(t, "SELECT name = 'eve' FROM views.staff WHERE id = 2")

	executeSQL(t, b.db, "ALTER TABLE public.people ADD COLUMN age integer DEFAULT 7")
	b.until(t, "SELECT EXISTS (SELECT FROM view.drift WHERE state = 'open')")
	require.Contains(t, b.run(t, "show", "staff"), "open: table people has a new column age")
	require.Contains(t, b.run(t, "drift", "accept", "staff"), "accepted")
	b.until(t, "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('views.staff') AND attname = 'age')")
	written := b.write(t, "written.yaml", b.run(t, "show", "staff", "--yaml"))
	require.Contains(t, b.run(t, "apply", "-f", written), "keep    view staff")
	executeSQL(t, b.db, "ALTER TABLE public.people ADD COLUMN more integer")
	b.until(t, "SELECT EXISTS (SELECT FROM view.drift WHERE state = 'open')")
	require.Contains(t, b.run(t, "drift", "reject", "staff"), "rejected")
	require.Contains(t, b.run(t, "drift", "reject", "staff"), "has no open drift")
	require.Contains(t, b.run(t, "remove", "staff"), "is removed")
	require.Contains(t, b.run(t, "list"), "there are no views")
	require.True(t, json.Valid([]byte(definition.Schema)))
	require.Equal(t, definition.Schema, b.run(t, "schema"))
}
