package view_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view"
)

// reader creates a role that may only connect to a database and read its tables, and returns a URL with it.
func reader(t *testing.T, database *pgtest.DB, schemas ...string) string {
	t.Helper()
	at, err := url.Parse(database.URL)
	require.NoError(t, err)
	name := at.Path[1:]
	role := "reader_" + name
	sql := fmt.Sprintf(`CREATE ROLE %[1]q LOGIN PASSWORD 'hunter2'; REVOKE ALL ON DATABASE %[2]q FROM PUBLIC; GRANT CONNECT ON DATABASE %[2]q TO %[1]q;
		REVOKE ALL ON SCHEMA public FROM PUBLIC;`, role, name)
	for _, schema := range schemas {
		sql += fmt.Sprintf("GRANT USAGE ON SCHEMA %[2]q TO %[1]q; GRANT SELECT ON ALL TABLES IN SCHEMA %[2]q TO %[1]q;", role, schema)
	}
	_, err = database.Exec(t.Context(), sql)
	require.NoError(t, err)
	at.User = url.UserPassword(role, "hunter2")
	return at.String()
}

const scheduledCRM = `
	CREATE TABLE public.customers (id integer PRIMARY KEY, name text, area text, updated_at timestamptz NOT NULL DEFAULT now());
	CREATE TABLE public.notes (customer_id integer, n integer, body text, PRIMARY KEY (customer_id, n));
	INSERT INTO public.customers VALUES (1, 'ann', 'n', now() - interval '2 hours'), (2, 'bob', 's', now() - interval '3 hours'), (3, 'cat', NULL, now() - interval '1 hour');
	INSERT INTO public.notes VALUES (1, 1, 'a'), (1, 2, 'b'), (3, 1, 'c')`

const scheduledView = `
name: report
schedule: {every: 1m, full: 1d, overlap: 2m, databases: [crm]}
tables:
  - {table: orders, columns: [{column: id, as: order_id, key: true}, total]}
  - {database: crm, table: customers, changed: updated_at, left: true, join: {customer_id: id}, columns: [{name: customer}, {expression: "upper(area)", as: area}]}
  - {database: crm, table: notes, to: customers, left: true, join: {id: customer_id}, columns: [n, body]}`

// due makes the tasks of a kind due for their next round, which ends or fails. What took too long on a loaded machine is tried again, as workers do.
func (b *testBundle) due(t *testing.T, kind string) {
	t.Helper()
	for {
		b.Do(t, "UPDATE view.task SET retry_at = NULL WHERE kind = $1", kind)
		for b.step(t.Context(), t) {
			continue
		}
		failures := pgtest.Column[string](t, b.DB, "SELECT error FROM view.task WHERE failures > 0 AND kind = '"+kind+"'")
		for _, failure := range failures {
			t.Log(failure)
		}
		if !slices.ContainsFunc(failures, func(failure string) bool { return strings.Contains(failure, "timeout") }) {
			return
		}
	}
}

// preparable lets Postgres prepare every statement that reads a part of a view's tables, also those that continue after a key: chunks grow
// quickly, so the tasks of a small table may never need them.
func (b *testBundle) preparable(t *testing.T, name string, crm func(sql string)) {
	t.Helper()
	p := b.serving(t, name).Plan
	prepare := func(exec func(sql string), statements ...string) {
		for _, statement := range statements {
			if statement == "" {
				continue // All values fit their type.
			}
			exec("PREPARE s AS " + statement + "; DEALLOCATE s")
		}
	}
	home := func(sql string) { b.Do(t, sql) }
	for _, lower := range []bool{false, true} {
		prepare(home, p.Next(lower), p.Reach(b.serving(t, name).Table, lower), p.Count(lower, false), p.Count(lower, true))
		for _, upper := range []bool{false, true} {
			remove, insert := p.RefreshRange(b.serving(t, name).Table, lower, upper)
			prepare(home, remove, insert, p.SelectRange(lower, upper), p.Compare(b.serving(t, name).Table, lower, upper), p.Misfits(lower, upper))
		}
		for i, s := range p.Sources {
			if s.Mirror == "" {
				continue
			}
			prepare(home, s.MirrorChunk(lower), s.Present())
			prepare(crm, s.Chunk(lower), s.Rows(), s.Absent(), p.Needed(i).Chunk(lower))
			if column, has := s.Column("updated_at"); has {
				prepare(crm, s.Since(column, false, lower), s.Since(column, true, lower), s.Greatest(column.Name))
			}
		}
	}
}

// TestSchedule: a role with SELECT alone is enough for a database that is read on a schedule. A poll finds rows whose column Changed has grown,
// and a comparison finds the other changes.
func TestSchedule(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, definition string) (*testBundle, func(sql string)) {
		t.Helper()
		b := setup(t, stream.ModeTrigger, orders)
		crm := pgtest.On(t, b.Server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
		exec := func(sql string) {
			_, err := crm.Exec(t.Context(), sql)
			require.NoError(t, err, sql)
		}
		exec(scheduledCRM)
		b.engine.Databases.Variables["crm"] = "$CRM"
		b.urls["CRM"] = reader(t, crm, "public")
		b.engine.Chunk = 2
		b.capture(t, stream.ModeTrigger)
		b.Do(t, "UPDATE public.orders SET customer_id = id - 1")
		b.apply(t, read(t, definition))
		b.quiet(t)
		b.exact(t, "report")
		return b, exec
	}
	report := func(t *testing.T, b *testBundle) []string {
		t.Helper()
		b.exact(t, "report")
		return pgtest.Column[string](t, b.DB, "SELECT concat_ws(' ', order_id, coalesce(customer, '-'), coalesce(area, '-'), coalesce(body, '-')) FROM views.report ORDER BY order_id, n")
	}
	before := []string{"1 - - -", "2 ann N a", "2 ann N b", "3 bob S -", "4 cat - c"}

	t.Run("ComparisonFindsTheRest", func(t *testing.T) {
		t.Parallel()
		b, crm := start(t, scheduledView)
		require.Equal(t, before, report(t, b))
		b.preparable(t, "report", crm)
		crm(`DELETE FROM public.customers WHERE id = 2; UPDATE public.customers SET name = 'nan' WHERE id = 1;
			DELETE FROM public.notes WHERE n = 2; INSERT INTO public.notes VALUES (3, 2, 'd'); UPDATE public.notes SET body = 'x' WHERE customer_id = 1`)
		b.due(t, view.TaskPoll)
		require.Equal(t, before, report(t, b), "updated_at did not grow")
		said, err := b.view(t, "report").Report(t.Context(), b.DB.DB)
		require.NoError(t, err)
		require.Len(t, said.Readings, 2)
		require.Equal(t, []any{"crm.public.customers", "updated_at", 60.0, 86400.0}, []any{said.Readings[0].Table, said.Readings[0].Column, said.Readings[0].Changes, said.Readings[0].Deletions})
		require.NotNil(t, said.Readings[0].LookedAt)
		require.Nil(t, said.Readings[1].LookedAt)
		require.Equal(t, []any{"", 86400.0, 0}, []any{said.Readings[1].Column, said.Readings[1].Changes, said.OpenTasks})
		b.due(t, view.TaskCompare)
		require.Equal(t, []string{"1 - - -", "2 nan N x", "3 - - -", "4 cat - c", "4 cat - d"}, report(t, b))
		crm("TRUNCATE public.notes")
		b.due(t, view.TaskCompare)
		require.Equal(t, []string{"1 - - -", "2 nan N -", "3 - - -", "4 cat - -"}, report(t, b))
	})

	t.Run("LateCommits", func(t *testing.T) {
		t.Parallel()
		b, crm := start(t, scheduledView)
		// Transactions that began before the greatest value was read may commit later. If they take less than the overlap, polls find them.
		crm("INSERT INTO public.customers VALUES (10, 'new', NULL, now() + interval '1 hour')")
		b.due(t, view.TaskPoll)
		crm("UPDATE public.customers SET name = 'late', updated_at = (SELECT max(updated_at) - interval '500 ms' FROM public.customers) WHERE id = 1")
		b.due(t, view.TaskPoll)
		require.Contains(t, report(t, b), "2 late N a")
		crm("UPDATE public.customers SET name = 'later', updated_at = (SELECT max(updated_at) - interval '400 ms' FROM public.customers) WHERE id = 2")
		b.due(t, view.TaskPoll)
		require.Contains(t, report(t, b), "3 later S -")
		// Only when these are over, a poll begins at the value that was the greatest at that time.
		const begins = "SELECT coalesce(since::timestamptz > now(), false)::text FROM view.task WHERE kind = 'poll'"
		b.Do(t, "UPDATE view.task SET mark_at = now() - interval '1 hour' WHERE kind = 'poll'")
		b.due(t, view.TaskPoll) // Now the greatest value is known, but transactions that began before may still be open.
		b.due(t, view.TaskPoll)
		require.Equal(t, []string{"false"}, pgtest.Column[string](t, b.DB, begins))
		b.Do(t, "UPDATE view.task SET mark_at = now() - interval '1 hour' WHERE kind = 'poll'")
		b.due(t, view.TaskPoll)
		require.Equal(t, []string{"true"}, pgtest.Column[string](t, b.DB, begins))
	})

	t.Run("PollFindsWhatHasGrown", func(t *testing.T) {
		t.Parallel()
		b, crm := start(t, scheduledView)
		crm("UPDATE public.customers SET name = name || '2', area = 'w', updated_at = clock_timestamp(); INSERT INTO public.customers VALUES (0, 'zed')")
		b.due(t, view.TaskPoll)
		require.Equal(t, []string{"1 zed - -", "2 ann2 W a", "2 ann2 W b", "3 bob2 W -", "4 cat2 W c"}, report(t, b))
		refreshed := b.view(t, "report").Refreshed
		b.due(t, view.TaskPoll)
		require.Equal(t, refreshed, b.view(t, "report").Refreshed, "rows that are read again and have not changed are not refreshed")
		b.Do(t, "UPDATE public.orders SET total = 7 WHERE id = 1") // The other database is captured.
		b.quiet(t)
		require.Equal(t, []string{"7.00"}, pgtest.Column[string](t, b.DB, "SELECT total::text FROM views.report WHERE order_id = 1"))
	})

	t.Run("RefreshByKeyReadsTheTables", func(t *testing.T) {
		t.Parallel()
		b, crm := start(t, scheduledView)
		crm(`DELETE FROM public.customers WHERE id = 2; UPDATE public.customers SET name = 'nan' WHERE id = 1; UPDATE public.notes SET body = 'x';
			DELETE FROM public.notes WHERE n = 2; INSERT INTO public.notes VALUES (1, 3, 'd')`)
		b.Do(t, "SELECT views.refresh('report', '{2}')")
		b.quiet(t)
		require.Equal(t, []string{"1 - - -", "2 nan N x", "2 nan N d", "3 bob S -", "4 cat - c"}, report(t, b), "order 4 was not requested")
		_, err := b.engine.Refresh(t.Context(), "report", [][]string{{"3"}, {"4"}, {"99"}}, who)
		require.NoError(t, err)
		b.quiet(t)
		require.Equal(t, []string{"1 - - -", "2 nan N x", "2 nan N d", "3 - - -", "4 cat - x"}, report(t, b))
		_, err = b.engine.Refresh(t.Context(), "report", [][]string{{"3", "4"}}, who)
		require.EqualError(t, err, "a key has 2 columns, and the key of the root of view report has 1: give a text for each key, or a JSON array of texts if the key has several columns")
		_, err = b.engine.Refresh(t.Context(), "report", [][]string{{"3"}, {"abc"}}, who)
		require.EqualError(t, err, `"abc" is not a value of type bigint, which column id of the key of view report has: give keys of the root's rows`)
		b.Do(t, `SELECT views.refresh('report', ARRAY['[3, 4]'])`)
		b.step(t.Context(), t)
		require.Equal(t, []string{"a key has 2 columns, and the key of orders has 1"}, pgtest.Column[string](t, b.DB, "SELECT error FROM view.task WHERE kind = 'refresh' AND state <> 'done'"))
	})

	t.Run("RefreshByKeyFollowsRowsThatMoved", func(t *testing.T) {
		t.Parallel()
		b := setup(t, stream.ModeTrigger, scheduledCRM+`; CREATE TABLE public.refs (id integer PRIMARY KEY, customer_id integer, what text);
			INSERT INTO public.refs VALUES (1, 1, 'a'), (2, 1, 'b'), (3, 2, 'c')`)
		b.sources = nil
		b.apply(t, read(t, `
name: report
schedule: {every: 30s, full: 20s}
tables:
  - {table: customers, columns: [id, name]}
  - {table: refs, left: true, join: {id: customer_id}, columns: [what]}`))
		b.quiet(t)
		require.True(t, pgtest.Value[bool](t, b.DB, "SELECT bool_and(retry_at <= now() + interval '20 seconds') FROM view.task WHERE kind = 'compare'"),
			"deletions are seen within full, from the first time on")
		b.Do(t, "UPDATE public.refs SET customer_id = 3 WHERE id = 2; DELETE FROM public.refs WHERE id = 3")
		_, err := b.engine.Refresh(t.Context(), "report", [][]string{{"1"}, {"2"}}, who)
		require.NoError(t, err)
		b.quiet(t)
		b.exact(t, "report")
		require.Equal(t, []string{"1 a", "2 -", "3 b"}, pgtest.Column[string](t, b.DB, "SELECT concat_ws(' ', id, coalesce(what, '-')) FROM views.report ORDER BY id"))
	})

	t.Run("SourceIsAway", func(t *testing.T) {
		t.Parallel()
		b, crm := start(t, scheduledView)
		crm("ALTER TABLE public.customers RENAME TO hidden")
		crm(`REVOKE SELECT ON public.hidden FROM "reader_` + crmName(t, b) + `"; ALTER TABLE public.hidden RENAME TO customers`)
		for range 20 {
			b.due(t, view.TaskPoll)
		}
		require.Equal(t, []string{"queued true"}, pgtest.Column[string](t, b.DB, "SELECT CASE state WHEN 'running' THEN 'queued' ELSE state END || ' ' || (error LIKE '%permission denied%') FROM view.task WHERE kind = 'poll'"), "it is tried again, however often")
		for _, message := range pgtest.Column[string](t, b.DB, "SELECT error FROM view.task") {
			require.NotContains(t, message, "hunter2")
		}
		crm(`GRANT SELECT ON public.customers TO "reader_` + crmName(t, b) + `"; UPDATE public.customers SET name = 'back', updated_at = clock_timestamp() WHERE id = 1`)
		b.due(t, view.TaskPoll)
		require.Contains(t, report(t, b), "2 back N a")
	})

	t.Run("VerifyReadsTheTables", func(t *testing.T) {
		t.Parallel()
		b, crm := start(t, scheduledView)
		verify := func(repair bool) view.Task {
			ids, err := b.engine.Verify(t.Context(), "report", repair, who)
			require.NoError(t, err)
			b.quiet(t)
			task, err := view.GetTask(t.Context(), b.DB.DB, ids[0])
			require.NoError(t, err)
			require.Equal(t, view.Done, task.State, task.Error)
			return task
		}
		crm(`DELETE FROM public.customers WHERE id = 2; UPDATE public.customers SET name = 'nan' WHERE id = 1; UPDATE public.notes SET body = 'x';
			DELETE FROM public.notes WHERE n = 2; INSERT INTO public.notes VALUES (3, 2, 'd')`)
		task := verify(false)
		require.Equal(t, []int64{0, 2 + 3}, []int64{task.Differing, task.Copied}, "rows that the schedule has not read yet are not a mistake")
		require.Equal(t, []string{"1 - - -", "2 nan N x", "3 - - -", "4 cat - x", "4 cat - d"}, report(t, b))

		// Rows differ if their mirror stays wrong when they are read.
		b.Do(t, `DO $$
			DECLARE mirror text;
			BEGIN
				SELECT format('view_mirror.%I', tablename) INTO mirror FROM pg_tables WHERE schemaname = 'view_mirror' AND tablename LIKE '%customers';
				EXECUTE 'UPDATE ' || mirror || $x$ SET name = 'wrong' WHERE id = 1$x$;
				EXECUTE 'CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql AS $x$ BEGIN RETURN OLD; END $x$';
				EXECUTE 'CREATE TRIGGER keep BEFORE UPDATE ON ' || mirror || ' FOR EACH ROW EXECUTE FUNCTION public.keep()';
			END $$; UPDATE views.report SET customer = 'wrong' WHERE order_id = 2`)
		for _, repair := range []bool{false, true} {
			task = verify(repair)
			require.Equal(t, []int64{1, 0}, []int64{task.Differing - task.Repaired, task.Repaired}, "%v", repair)
			require.Equal(t, []string{"copy of crm.public.customers 1"}, task.Examples)
		}
	})

	t.Run("WholeViewInTheTarget", func(t *testing.T) {
		t.Parallel()
		b := setup(t, stream.ModeTrigger, scheduledCRM)
		b.sources = nil // Nothing is captured.
		b.apply(t, read(t, `
name: report
schedule: {every: 30s}
tables:
  - {table: customers, changed: updated_at, columns: [id, name]}
  - {table: notes, left: true, join: {id: customer_id}, columns: [body]}`))
		b.quiet(t)
		b.exact(t, "report")
		b.Do(t, "DELETE FROM public.customers WHERE id = 1; INSERT INTO public.customers VALUES (4, 'dan'); UPDATE public.notes SET body = 'z'")
		b.due(t, view.TaskPoll)
		b.due(t, view.TaskCompare)
		b.exact(t, "report")
		require.Equal(t, []string{"2 bob -", "3 cat z", "4 dan -"}, pgtest.Column[string](t, b.DB, "SELECT concat_ws(' ', id, name, coalesce(body, '-')) FROM views.report ORDER BY id"))
		require.Empty(t, pgtest.Column[string](t, b.DB, "SELECT name FROM capture.stream"), "nothing was made to be captured")
		_, err := b.engine.Rebuild(t.Context(), "report", who)
		require.NoError(t, err)
		b.quiet(t)
		b.exact(t, "report")
		require.Equal(t, []string{"compare 0", "compare 1", "poll 0"}, pgtest.Column[string](t, b.DB, "SELECT kind || ' ' || table_index FROM view.task WHERE state = 'queued' ORDER BY 1"), "the tasks of the old table no longer exist")
	})
}

// crmName returns the name of the database crm.
func crmName(t *testing.T, b *testBundle) string {
	t.Helper()
	at, err := url.Parse(b.urls["CRM"])
	require.NoError(t, err)
	return at.Path[1:]
}
