package ui_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/view/definition"
	"github.com/daymill/daymill/ui"
)

type viewBundle struct {
	*api

	engine *view.Engine
}

const apiView = `{"name": "staff", "schedule": {"every": "1m"}, "tables": [{"table": "people", "columns": ["id", {"column": "name", "as": "called"}]}]}`

// setupView creates a table, and serves the API of a process with views. One of its databases has a URL that cannot be reached.
func setupView(t *testing.T) *viewBundle {
	t.Helper()
	db := database(t)
	_, err := db.Exec(t.Context(), "CREATE TABLE public.people (id integer PRIMARY KEY, name text); INSERT INTO public.people VALUES (1, 'ann'), (2, 'bob')")
	require.NoError(t, err)
	databases := &view.Databases{
		DB: db.DB, URL: db.URL, Variables: map[string]string{"crm": "$CRM_URL"},
		Lookup: func(string) (string, bool) { return "postgres://someone:hunter2@127.0.0.1:1/crm", true },
	}
	t.Cleanup(databases.Close)
	b := &viewBundle{engine: &view.Engine{DB: db.DB, Databases: databases}}
	b.api = newAPI(t, db, func(c *ui.Config) { c.Views = b.engine })
	return b
}

// ask makes a call that must be answered with a status, and decodes the answer.
func (b *viewBundle) ask(t *testing.T, method, path, body string, status int, into any) {
	t.Helper()
	answer := b.call(t, method, path, body)
	require.Equal(t, status, answer.status, answer.body)
	if body != "" {
		b.requireValid(t, method, path, body)
	}
	if into != nil {
		require.NoError(t, json.Unmarshal([]byte(answer.body), into), answer.body)
	}
}

// work runs all tasks.
func (b *viewBundle) work(t *testing.T) {
	t.Helper()
	due, err := b.engine.Due(t.Context())
	require.NoError(t, err)
	for _, id := range due {
		_, err := b.engine.Work(t.Context(), id)
		require.NoError(t, err)
	}
}

// tasks is the answer of calls that request tasks.
type tasks struct {
	IDs []int64 `json:"task_ids"`
}

func TestAPIViews(t *testing.T) {
	t.Parallel()

	t.Run("Access", func(t *testing.T) {
		t.Parallel()
		b := setupView(t)
		viewer, nobody := basic("viewer", viewerPassword), header("Authorization", "")
		b.ask(t, "POST", "/api/views", `{"definition": `+apiView+`}`, http.StatusAccepted, nil)
		for path, body := range map[string]string{
			"POST /api/views": `{"definition": ` + apiView + `}`, "DELETE /api/views/staff": "", "POST /api/views/staff/rebuild": "{}", "POST /api/views/staff/resume": "{}",
			"POST /api/views/staff/refresh": "{}", "POST /api/views/staff/verify": "{}", "POST /api/views/staff/pause": "{}", "POST /api/views/staff/drift": `{"decision": "accept"}`,
		} {
			var method, at string
			_, err := fmt.Sscan(path, &method, &at)
			require.NoError(t, err)
			require.Equal(t, http.StatusUnauthorized, b.call(t, method, at, body, nobody).status, path)
			require.Equal(t, http.StatusForbidden, b.call(t, method, at, body, viewer).status, path)
		}
		for _, path := range []string{"/api/views", "/api/views/staff", "/api/views/staff/sql", "/api/tasks/1"} {
			require.Equal(t, http.StatusUnauthorized, b.call(t, "GET", path, "", nobody).status, path)
			require.Equal(t, http.StatusOK, b.call(t, "GET", path, "", viewer).status, path)
		}
		schema := b.call(t, "GET", "/api/view.schema.json", "", nobody)
		require.Equal(t, http.StatusOK, schema.status)
		require.Equal(t, "application/schema+json", schema.header.Get("Content-Type"))
		require.Equal(t, definition.Schema, schema.body)
	})

	t.Run("FromDefinitionToRemoval", func(t *testing.T) {
		t.Parallel()
		b := setupView(t)
		var steps struct{ Steps []view.Step }
		b.ask(t, "POST", "/api/views", `{"dry_run": true, "definition": `+apiView+`}`, http.StatusOK, &steps)
		require.Equal(t, view.StepCreate, steps.Steps[0].Verb)
		var list struct{ Views []view.Report }
		b.ask(t, "GET", "/api/views", "", http.StatusOK, &list)
		require.Empty(t, list.Views, "nothing was done")
		text, err := json.Marshal(apiView)
		require.NoError(t, err)
		b.ask(t, "POST", "/api/views", `{"definition": `+string(text)+`}`, http.StatusAccepted, &steps)
		b.ask(t, "GET", "/api/views", "", http.StatusOK, &list)
		require.Equal(t, []string{"staff", "building"}, []string{list.Views[0].Name, list.Views[0].State})
		b.work(t)
		var shown struct {
			view.Report

			Tasks      []view.Task `json:"tasks"`
			Definition string      `json:"definition"`
		}
		b.ask(t, "GET", "/api/views/staff", "", http.StatusOK, &shown)
		require.Equal(t, view.StateServing, shown.State)
		require.Equal(t, []string{"build", "done"}, []string{shown.Tasks[0].Kind, shown.Tasks[0].State})
		require.InDelta(t, 86400, shown.Readings[0].Deletions, 0)
		again, err := json.Marshal(shown.Definition)
		require.NoError(t, err)
		b.ask(t, "POST", "/api/views", `{"dry_run": true, "definition": `+string(again)+`}`, http.StatusOK, &steps)
		require.Equal(t, view.StepKeep, steps.Steps[0].Verb, "the API shows the definition that was applied")
		var sql view.SQL
		b.ask(t, "GET", "/api/views/staff/sql", "", http.StatusOK, &sql)
		require.Contains(t, sql.Select, `AS "called"`)

		b.db.Do(t, "UPDATE public.people SET name = 'eve' WHERE id = 2; DELETE FROM views.staff WHERE id = 1")
		var made tasks
		b.ask(t, "POST", "/api/views/staff/refresh", `{"keys": [2]}`, http.StatusAccepted, &made)
		b.work(t)
		var task view.Task
		b.ask(t, "GET", fmt.Sprintf("/api/tasks/%d", made.IDs[0]), "", http.StatusOK, &task)
		require.Equal(t, []string{"refresh", "done", "api", "api"}, []string{task.Kind, task.State, task.Actor, task.Via})
		require.Equal(t, "eve", b.text(t, "SELECT string_agg(called, ' ') FROM views.staff"))
		b.ask(t, "POST", "/api/views/staff/verify", `{"repair": true}`, http.StatusAccepted, &made)
		b.work(t)
		b.ask(t, "GET", fmt.Sprintf("/api/tasks/%d", made.IDs[0]), "", http.StatusOK, &task)
		require.Equal(t, []int64{1, 1}, []int64{task.Differing, task.Repaired})
		b.ask(t, "POST", "/api/views/staff/pause", `{"because": "maintenance"}`, http.StatusNoContent, nil)
		b.ask(t, "GET", "/api/views/staff", "", http.StatusOK, &shown)
		require.Equal(t, []string{"paused", "maintenance"}, []string{shown.State, shown.Reason})
		b.ask(t, "POST", "/api/views/staff/resume", "{}", http.StatusNoContent, nil)

		b.db.Do(t, "ALTER TABLE public.people ADD COLUMN age integer DEFAULT 7")
		require.NoError(t, b.engine.Maintain(t.Context()))
		var decided struct{ Decided int }
		b.ask(t, "POST", "/api/views/staff/drift", `{"decision": "accept"}`, http.StatusOK, &decided)
		require.Equal(t, 1, decided.Decided)
		b.work(t)
		require.Equal(t, "7", b.text(t, "SELECT DISTINCT age::text FROM views.staff"))
		b.ask(t, "POST", "/api/views/staff/rebuild", "{}", http.StatusAccepted, &made)
		b.work(t)
		b.ask(t, "DELETE", "/api/views/staff", "", http.StatusNoContent, nil)
		b.ask(t, "GET", "/api/views/staff", "", http.StatusNotFound, nil)
		require.Equal(t, "create view,refresh view,verify view,pause view,resume view,accept drift,rebuild view,remove view",
			b.text(t, "SELECT string_agg(action, ',' ORDER BY id) FROM daymill.audit WHERE via = 'api' AND actor = 'api'"))
	})

	t.Run("Mistakes", func(t *testing.T) {
		t.Parallel()
		b := setupView(t)
		for body, detail := range map[string]string{
			`{}`:                "Definition is missing",
			`{"definition": 7}`: "definition:1:1",
			`{"definition": {"name": "a", "tables": [{"table": "nothing", "columns": ["id"]}]}}`:                   "database app has no table public.nothing",
			`{"definition": "name: a\ntables: [{table: people, colums: [id]}]"}`:                                   `definition:2:26: a table has no \"colums\": did you mean columns?`,
			`{"definition": {"name": "a", "tables": [{"database": "crm", "table": "people", "columns": ["id"]}]}}`: "see $CRM_URL",
		} {
			answer := b.call(t, "POST", "/api/views", body)
			require.Equal(t, http.StatusUnprocessableEntity, answer.status, answer.body)
			require.Contains(t, answer.body, detail)
			require.NotContains(t, answer.body, "hunter2")
		}
		for _, path := range []string{"GET /api/views/x", "GET /api/views/x/sql", "GET /api/views/%00", "POST /api/views/x/rebuild", "GET /api/tasks/9", "GET /api/tasks/x", "DELETE /api/views/x"} {
			var method, at string
			_, err := fmt.Sscan(path, &method, &at)
			require.NoError(t, err)
			require.Equal(t, http.StatusNotFound, b.call(t, method, at, map[string]string{"POST": "{}"}[method]).status, path)
		}
		b.ask(t, "POST", "/api/views", `{"definition": `+apiView+`}`, http.StatusAccepted, nil)
		for path, body := range map[string]string{"refresh": `{"keys": []}`, "verify": `{"repair": false}`, "drift": `{"decision": "maybe"}`} {
			answer := b.call(t, "POST", "/api/views/staff/"+path, body)
			require.Equal(t, http.StatusUnprocessableEntity, answer.status, "%s: %s", path, answer.body)
		}
		answer := b.call(t, "POST", "/api/views/staff/refresh", `{"keys": ["abc"]}`)
		require.Equal(t, http.StatusUnprocessableEntity, answer.status, answer.body)
		require.Contains(t, answer.body, "is not a value of type integer")
		b.db.Do(t, `UPDATE view.view SET paused_at = now(), paused_because = 'column n now has another type';
			INSERT INTO view.drift (view_id, kind, table_index, column_number, sentence, state) SELECT id, 'retyped', 0, 1, paused_because, 'rejected' FROM view.view`)
		answer = b.call(t, "POST", "/api/views/staff/resume", "{}")
		require.Equal(t, http.StatusUnprocessableEntity, answer.status, answer.body)
		require.Contains(t, answer.body, "staff cannot continue, because its tables have changed")
		answer = b.post(t, "/views/staff", fields("action", "resume"))
		require.Equal(t, http.StatusUnprocessableEntity, answer.status, answer.body)
		require.Contains(t, answer.body, "staff cannot continue, because its tables have changed")
	})
}
