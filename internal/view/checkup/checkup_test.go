package checkup_test

import (
	neturl "net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/view/checkup"
	"github.com/daymill/daymill/internal/view/definition"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestChecks: databases that cannot be read, indexes that are missing and roles that may write are found, and no URL is shown.
func TestChecks(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{})
	crm := pgtest.Empty(t)
	exec := func(on *pgtest.DB, sql string) {
		_, err := on.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	url := crm.URL
	open := func(on *postgres.DB) *view.Databases {
		return &view.Databases{DB: on, URL: db.URL, Variables: map[string]string{"crm": "$CRM"}, Lookup: func(string) (string, bool) { return url, url != "" }}
	}
	look := func() (found []string) {
		for _, f := range doctor.Examine(t.Context(), doctor.Config{DB: db.DB, Clock: pace.SystemClock{}, Checks: checkup.Checks(open)}) {
			if f.ID == "view_database" || f.ID == "view_index" || f.ID == "view_rights" {
				found = append(found, string(f.Level)+" "+f.Sentence)
				require.NotContains(t, f.Sentence, "hunter2")
			}
		}
		return found
	}
	require.Empty(t, look(), "there are no views")
	exec(db, "CREATE TABLE public.orders (id integer PRIMARY KEY, customer integer); CREATE TABLE public.lines (id integer PRIMARY KEY, order_id integer)")
	exec(crm, "CREATE TABLE public.customers (id integer PRIMARY KEY, name text)")
	definitions, err := definition.Parse("a.yaml", []byte(`
name: report
tables:
  - {table: orders, columns: [id]}
  - {table: lines, join: {id: order_id}, columns: [{id: line}]}
  - {database: crm, table: customers, join: {customer: id}, columns: [name]}`))
	require.NoError(t, err)
	databases := open(db.DB)
	defer databases.Close()
	engine := &view.Engine{DB: db.DB, Databases: databases}
	steps, err := engine.Plan(t.Context(), definitions)
	require.NoError(t, err)
	require.NoError(t, engine.Apply(t.Context(), steps, audit.Who{Via: audit.ViaCLI}))
	exec(db, "CREATE INDEX ON public.orders (customer)")
	const index = `warning view report: no index of "public"."lines" begins with "order_id", so refreshes may read the whole table: CREATE INDEX CONCURRENTLY ON "public"."lines" ("order_id")`
	require.Equal(t, []string{"ok 3 tables of 1 view can be read", index}, look())
	exec(db, "CREATE INDEX ON public.lines (order_id); GRANT INSERT ON views._daymill_1 TO PUBLIC")
	require.Equal(t, []string{"ok 3 tables of 1 view can be read", "warning every role may write to views._daymill_1, and such writes stay until their key is refreshed or verified: REVOKE it"}, look())
	exec(db, "REVOKE ALL ON views._daymill_1 FROM PUBLIC")
	exec(crm, `CREATE ROLE "poor reader" LOGIN PASSWORD 'hunter2'; REVOKE ALL ON SCHEMA public FROM PUBLIC`)
	rich := url
	at, err := neturl.Parse(url)
	require.NoError(t, err)
	at.User = neturl.UserPassword("poor reader", "hunter2")
	url = at.String()
	require.Equal(t, []string{
		"failure view report: the role may not use the schema of public.customers of database crm: GRANT USAGE ON SCHEMA \"public\" to it",
		`failure view report: the role may not read public.customers of database crm: GRANT SELECT ON "public"."customers" to it`,
		"failure view report: changes of database crm cannot be captured: for the WAL, wal_level is replica: set it to logical and restart Postgres; " +
			"for triggers, the role may not create the schema daymill_capture: GRANT CREATE ON DATABASE to it",
		"ok 2 tables of 1 view can be read",
	}, look())
	exec(crm, `GRANT USAGE ON SCHEMA public TO "poor reader"; GRANT SELECT (id, name) ON public.customers TO "poor reader"`)
	require.Equal(t, "ok 3 tables of 1 view can be read", look()[1], "rights on the columns are enough")
	url = rich
	exec(crm, `DROP OWNED BY "poor reader"; DROP ROLE "poor reader"`)
	exec(crm, "DROP TABLE public.customers")
	require.Equal(t, []string{
		"failure view report: table public.customers of database crm was dropped: create it again, or change the definition", "ok 2 tables of 1 view can be read",
	}, look())
	url = "postgres://someone:hunter2@127.0.0.1:1/crm"
	require.Equal(t, "failure database crm, whose URL is in $CRM, cannot be opened: views that read it are not kept up to date", look()[0])
	url = ""
	require.Equal(t, "warning the environment variable $CRM of database crm is not set here: workers need it", look()[0])
}
