package view_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestRights: a database of a view can be read by a role that has the rights that docs/views.md names, and no others. Without one of them,
// Daymill says which is missing. TestSchedule does this for a role with SELECT alone.
func TestRights(t *testing.T) {
	t.Parallel()
	installed := pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	for mode, missing := range map[string]string{stream.ModeTrigger: "for triggers, the role does not own sales.customers", stream.ModeWAL: "does not own sales.customers, so it may not publish it"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b := setupOn(t, pgtest.On(t, server, installed), orders)
			crm := pgtest.On(t, server, installed)
			admin := func(sql string) {
				_, err := crm.Exec(t.Context(), sql)
				require.NoError(t, err, sql)
			}
			at, err := url.Parse(crm.URL)
			require.NoError(t, err)
			name := at.Path[1:]
			role, owner := "reader_"+name, "owner_"+name
			replication := map[string]string{stream.ModeTrigger: "NOREPLICATION", stream.ModeWAL: "REPLICATION"}[mode]
			admin(fmt.Sprintf(`CREATE ROLE %[1]q NOLOGIN; CREATE ROLE %[2]q LOGIN %[3]s PASSWORD 'hunter2';
				REVOKE ALL ON DATABASE %[4]q FROM PUBLIC; GRANT CONNECT, CREATE ON DATABASE %[4]q TO %[2]q; REVOKE ALL ON SCHEMA public FROM PUBLIC;
				CREATE SCHEMA sales AUTHORIZATION %[1]q; SET ROLE %[1]q;
				CREATE TABLE sales.customers (id bigint PRIMARY KEY, name text); INSERT INTO sales.customers VALUES (7, 'ann'), (8, 'bob');
				CREATE TABLE sales.mark (id serial PRIMARY KEY); RESET ROLE;
				CREATE SCHEMA marks; CREATE VIEW marks.mark AS TABLE sales.mark`, owner, role, replication, name))
			at.User = url.UserPassword(role, "hunter2")
			source, err := postgres.Open(t.Context(), postgres.Config{URL: at.String(), ApplicationName: "a test"})
			require.NoError(t, err)
			t.Cleanup(source.Close)
			_, _, err = stream.Choose(t.Context(), source, []string{"sales"})
			require.ErrorContains(t, err, missing)
			definitions := read(t, `
name: report
tables:
  - {table: orders, columns: [id, total]}
  - {database: crm, table: sales.customers, left: true, join: {customer_id: id}, columns: [{name: customer}]}`)
			b.engine.Databases.Variables["crm"], b.urls["CRM"] = "$CRM", at.String()
			lacks := func() []string {
				steps, err := b.engine.Plan(t.Context(), definitions)
				require.NoError(t, err)
				return slices.DeleteFunc(steps[0].Notes, func(note string) bool { return strings.Contains(note, "no index") })
			}
			notes := lacks()
			require.Len(t, notes, 3, notes)
			require.Equal(t, []string{
				`the role may not use the schema of sales.customers of database crm: GRANT USAGE ON SCHEMA "sales" to it`,
				`the role may not read sales.customers of database crm: GRANT SELECT ON "sales"."customers" to it`,
			}, notes[:2])
			require.Contains(t, notes[2], "changes of database crm cannot be captured: for the WAL, ")
			require.Contains(t, notes[2], missing)
			admin(fmt.Sprintf("GRANT %q TO %q", owner, role))
			require.Empty(t, lacks())
			chosen, _, err := stream.Choose(t.Context(), source, []string{"sales"})
			require.NoError(t, err)
			require.Equal(t, mode, chosen)

			b.capture(t, mode)
			b.apply(t, definitions)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			own := stream.Owner{
				DB: b.DB.DB, Source: source, SourceURL: at.String(), Name: "crm", Tables: []string{"sales"}, Process: "a test",
				Beat: 200 * time.Millisecond, Look: 200 * time.Millisecond, Poll: 5 * time.Millisecond,
			}
			go func() { done <- own.Run(ctx) }()
			t.Cleanup(func() {
				cancel()
				require.ErrorIs(t, <-done, context.Canceled)
			})
			b.until(t, "SELECT count(*) > 0 FROM capture.captured AS c JOIN capture.stream AS s ON s.id = c.stream_id WHERE s.name = 'crm' AND s.state = 'running'")
			b.sources["crm"] = crm
			b.quiet(t)
			b.exact(t, "report")
			admin("UPDATE sales.customers SET name = 'eve' WHERE id = 7; DELETE FROM sales.customers WHERE id = 8")
			b.quiet(t)
			b.exact(t, "report")
			require.Equal(t, []string{"eve", "eve", "-", "-"}, pgtest.Column[string](t, b.DB, "SELECT coalesce(customer, '-') FROM views.report ORDER BY id"))
			require.Equal(t, []string{mode}, pgtest.Column[string](t, b.DB, "SELECT mode FROM capture.stream WHERE name = 'crm'"))
			require.Empty(t, pgtest.Column[string](t, b.DB, "SELECT 'x' FROM capture.stream AS s WHERE s::text LIKE '%hunter2%' UNION ALL SELECT 'x' FROM view.version AS v WHERE v::text LIKE '%hunter2%' UNION ALL SELECT 'x' FROM view.database AS d WHERE d::text LIKE '%hunter2%'"))
		})
	}
}

// TestRights_Rebuild: a rebuild keeps rights on columns, row security and policies.
func TestRights_Rebuild(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, "CREATE TABLE public.a (id integer PRIMARY KEY, name text, secret text); INSERT INTO public.a VALUES (1, 'a', 's'), (2, 'b', 's')")
	b.capture(t, stream.ModeTrigger)
	b.apply(t, read(t, "name: x\ntables: [{table: a, columns: [id, name, secret]}]"))
	b.quiet(t)
	role := pgx.Identifier{"reader of " + b.Config().ConnConfig.Database}.Sanitize()
	b.Do(t, "CREATE ROLE "+role)
	t.Cleanup(func() {
		_, err := b.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+role+"; DROP ROLE "+role)
		require.NoError(t, err)
	})
	b.Do(t, "GRANT USAGE ON SCHEMA views TO "+role+"; GRANT SELECT (id, name) ON views.x TO "+role+`;
		ALTER TABLE views.x ENABLE ROW LEVEL SECURITY; CREATE POLICY "own rows" ON views.x FOR SELECT TO `+role+" USING (id > 1)")
	visible := func() []string {
		var names []string
		require.NoError(t, b.Tx(t.Context(), func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "SET LOCAL ROLE "+role)
			require.NoError(t, err)
			rows, err := tx.Query(t.Context(), "SELECT name FROM views.x")
			require.NoError(t, err)
			names, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		}))
		return names
	}
	require.Equal(t, []string{"b"}, visible())
	b.Do(t, "ALTER TABLE public.a ALTER id TYPE bigint") // The view follows with a new table.
	b.quiet(t)
	require.Equal(t, "bigint", pgtest.Value[string](t, b.DB, "SELECT atttypid::regtype::text FROM pg_attribute WHERE attrelid = 'views.x'::regclass AND attname = 'id'"))
	require.Equal(t, []string{"b"}, visible())
	b.exact(t, "x")
}
