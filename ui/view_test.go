package ui_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/browser"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/ui"
)

// fields encodes names and values, which alternate.
func fields(pairs ...string) string {
	values := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return values.Encode()
}

// staff applies a view of people, and builds it.
func (b *viewBundle) staff(t *testing.T) {
	t.Helper()
	answer := b.post(t, "/definition", fields("action", "apply", "definition", apiView))
	require.Equal(t, http.StatusSeeOther, answer.status, answer.body)
	require.Equal(t, "/views/staff", answer.header.Get("Location"))
	b.work(t)
}

// requireAccessible fails if axe-core, of Deque, finds something serious on a page.
func requireAccessible(t *testing.T, shown *browser.Page) {
	t.Helper()
	axe, err := os.ReadFile("testdata/axe.min.js")
	require.NoError(t, err)
	browser.Evaluate[bool](t, shown, string(axe)+"; true")
	found := browser.Evaluate[string](t, shown, `axe.run({resultTypes: ["violations"]}).then((r) => JSON.stringify(r.violations.map((v) =>
		v.impact + " " + v.id + ": " + v.nodes.map((n) => n.html.slice(0, 200)).join(" "))))`)
	var violations []string
	require.NoError(t, json.Unmarshal([]byte(found), &violations))
	for _, violation := range violations {
		require.NotRegexp(t, "^(serious|critical) ", violation, shown.Location(t))
	}
}

func TestViews(t *testing.T) {
	t.Parallel()

	t.Run("Definition", func(t *testing.T) {
		t.Parallel()
		b := setupView(t)
		for text, says := range map[string]string{
			"name: a\ntables: [{table: people, colums: [id]}]": "definition:2:26",
			"":          "the file is empty",
			"\x00":      "cannot store",
			"name: \"a": "this is not YAML",
		} {
			answer := b.post(t, "/definition", fields("definition", text))
			require.Equal(t, http.StatusUnprocessableEntity, answer.status, text)
			require.Contains(t, answer.body, says)
		}
		answer := b.post(t, "/definition", fields("definition", apiView, "action", "plan"))
		require.Equal(t, http.StatusOK, answer.status)
		require.Contains(t, answer.body, "create staff: 2 columns of 1 table")
		require.Contains(t, b.get(t, "/views").body, "There are no views.")
		b.staff(t)
		file := b.get(t, "/views/staff/definition.yaml")
		require.Contains(t, file.header.Get("Content-Disposition"), "staff.yaml")
		answer = b.post(t, "/definition", fields("definition", file.body, "action", "apply"))
		require.Equal(t, "unchanged", answer.notice(), "the file is what was applied")
		require.Contains(t, b.get(t, "/definition?view=staff").body, "table: people")
		require.Equal(t, http.StatusNotFound, b.get(t, "/definition?view=none").status)
	})

	t.Run("ChangesOfAllTables", func(t *testing.T) {
		t.Parallel()
		b := setupBuilder(t)
		b.db.Do(t, "INSERT INTO public.orders VALUES (13, 2, 1)")
		answer := b.post(t, "/builder", fields("name", "clients", "t", "app/public/customers", "c.0.0", "1", "action", "create"))
		require.Equal(t, http.StatusSeeOther, answer.status, answer.body)
		b.built(t, "clients")
		require.Equal(t, "paused", b.post(t, "/views/clients", fields("action", "pause")).notice())
		behind := func() int64 {
			v, err := view.Get(t.Context(), b.db.DB, "clients")
			require.NoError(t, err)
			report, err := v.Report(t.Context(), b.db.DB)
			require.NoError(t, err)
			return report.Behind
		}
		before := behind()
		b.db.Do(t, "INSERT INTO public.orders VALUES (14, 2, 1), (15, 2, 1), (16, 2, 1)")
		require.Eventually(t, func() bool { return behind() >= before+3 }, time.Minute, 50*time.Millisecond, "changes of a table that the view does not read count")
		page := b.get(t, "/views/clients").body
		require.Regexp(t, `href="/help#behind" title="[^"]+">Changes of its databases not looked at yet</a>\s*</dt>\s*<dd>\d+</dd>`, page)
		require.Contains(t, page, `href="/help#lag"`)
		require.Contains(t, b.get(t, "/help").body, `id="behind"`)
	})

	t.Run("DefinitionOfAnExistingView", func(t *testing.T) {
		t.Parallel()
		b := setupView(t)
		b.staff(t)
		const other = "name: staff\nschedule: {}\ntables:\n  - {table: people, columns: [id]}"
		before := b.get(t, "/views/staff/definition.yaml").body
		held := b.post(t, "/definition", fields("definition", other, "action", "apply"))
		require.Equal(t, http.StatusOK, held.status, held.body)
		require.Contains(t, held.body, "Nothing is applied yet: there is a view of this name already.")
		require.Contains(t, held.body, "drops called")
		require.Equal(t, before, b.get(t, "/views/staff/definition.yaml").body)
		const says = `<input type="hidden" name="change" value="staff">`
		require.Contains(t, held.body, says, "Apply changes what the page has shown")
		require.Contains(t, b.post(t, "/definition", fields("definition", other, "action", "plan")).body, says)
		require.Contains(t, b.get(t, "/definition?view=staff").body, says, "the form was opened to change this view")
		require.NotContains(t, b.get(t, "/definition").body, says)
		require.Contains(t, b.post(t, "/definition", fields("definition", before, "action", "plan", "change", "staff")).body, says, "the form remembers that, too")
		answer := b.post(t, "/definition", fields("definition", other, "action", "apply", "change", "other"))
		require.Contains(t, answer.body, "Nothing is applied yet")
		answer = b.post(t, "/definition", fields("definition", other, "action", "apply", "change", "staff"))
		require.Equal(t, "building", answer.notice(), answer.body)
		require.NotContains(t, b.get(t, "/views/staff/definition.yaml").body, "called")
	})

	t.Run("DefinitionOfAViewCreatedMeanwhile", func(t *testing.T) {
		t.Parallel()
		b := setupView(t)
		other, err := b.db.Begin(t.Context())
		require.NoError(t, err)
		_, err = other.Exec(t.Context(), "INSERT INTO view.view (name, gap_seen) VALUES ('staff', 0)")
		require.NoError(t, err)
		answers := make(chan response, 1)
		go func() {
			answers <- b.post(t, "/definition", fields("definition", apiView, "action", "apply")) //nolint:testifylint // Without an answer, the test waits for it until its time is over.
		}()
		b.db.Wait(t, "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')")
		require.NoError(t, other.Commit(t.Context()))
		answer := <-answers
		require.Equal(t, http.StatusOK, answer.status, answer.body)
		require.Contains(t, answer.body, "Nothing is applied yet")
	})

	t.Run("FromBuildToRemoval", func(t *testing.T) {
		t.Parallel()
		b := setupView(t)
		b.staff(t)
		act := func(notice string, pairs ...string) {
			t.Helper()
			answer := b.post(t, "/views/staff", fields(pairs...))
			require.Equal(t, http.StatusSeeOther, answer.status, answer.body)
			require.Equal(t, notice, answer.notice())
		}
		require.Contains(t, b.get(t, "/views").body, ">serving</span>")
		require.Contains(t, b.get(t, "/views/staff").body, "SELECT")

		b.db.Do(t, "UPDATE public.people SET name = '<i>eve' WHERE id = 2; DELETE FROM views.staff WHERE id = 1")
		act("requested", "action", "refresh", "keys", " 2\r\n\r\n")
		b.work(t)
		require.Equal(t, "<i>eve", b.text(t, "SELECT string_agg(called, ' ') FROM views.staff"))
		act("requested", "action", "verify")
		b.work(t)
		require.Contains(t, b.get(t, "/views/staff").body, "1 key differs; such as 1")
		require.Contains(t, b.get(t, "/views").body, ">differs</span>")
		act("requested", "action", "verify", "repair", "1")
		b.work(t)
		require.Contains(t, b.get(t, "/views/staff").body, "1 repaired")
		require.Contains(t, b.get(t, "/views").body, ">serving</span>")
		act("requested", "action", "verify")
		b.db.Do(t, "UPDATE view.task SET state = 'failed', error = 'out of luck' WHERE id = (SELECT max(id) FROM view.task WHERE kind = 'verify')")
		list := b.get(t, "/views").body
		require.Contains(t, list, ">serving</span>", "a verification that fails says nothing about the rows")
		require.Contains(t, list, "the last verification has failed: out of luck")
		act("requested", "action", "verify", "repair", "1")
		b.work(t)
		require.NotContains(t, b.get(t, "/views").body, "out of luck")
		act("requested", "action", "refresh", "all", "1", "keys", "")
		act("requested", "action", "rebuild")
		b.work(t)
		act("paused", "action", "pause", "because", "a <b>reason")
		require.Contains(t, b.get(t, "/views/staff").body, "a &lt;b&gt;reason")
		act("resumed", "action", "resume")

		b.db.Do(t, "ALTER TABLE public.people ADD COLUMN age integer DEFAULT 7, ADD COLUMN size integer")
		require.NoError(t, b.engine.Maintain(t.Context()))
		require.Contains(t, b.get(t, "/views/staff").body, "Accept all")
		ids := b.text(t, "SELECT string_agg(id::text, ',' ORDER BY column_number) FROM view.drift WHERE state = 'open'")
		accept, reject, _ := strings.Cut(ids, ",")
		act("accepted", "action", "accept", "drift", accept)
		act("rejected", "action", "reject", "drift", reject)
		require.Contains(t, b.get(t, "/views/staff").body, `<span class="badge">rejected</span>`, "a badge has the state alone")
		b.work(t)
		require.Equal(t, "7", b.text(t, "SELECT DISTINCT age::text FROM views.staff"))
		answer := b.post(t, "/views/staff", fields("action", "accept", "drift", accept))
		require.Equal(t, http.StatusUnprocessableEntity, answer.status)

		b.db.Do(t, "ALTER TABLE public.people ALTER name TYPE integer USING 7")
		require.NoError(t, b.engine.Maintain(t.Context()))
		const says = "column name of people now has type integer, and had text: accept to build a table with the new type"
		require.Contains(t, b.get(t, "/views/staff").body, says)
		list = b.get(t, "/views").body
		require.Contains(t, list, ">drift</span>")
		require.Contains(t, list, says)
		act("accepted", "action", "accept")
		require.Contains(t, b.get(t, "/views").body, ">stale</span>")
		b.work(t)
		require.Contains(t, b.get(t, "/views").body, ">serving</span>")
		require.Equal(t, "7", b.text(t, "SELECT DISTINCT called::text FROM views.staff WHERE pg_typeof(called) = 'integer'::regtype"))

		require.Contains(t, b.post(t, "/views/staff", fields("action", "remove")).body, "Remove staff?")
		require.Equal(t, http.StatusOK, b.get(t, "/views/staff").status)
		act("removed", "action", "remove", "confirm", "1")
		require.Equal(t, http.StatusNotFound, b.get(t, "/views/staff").status)
		require.Equal(t, "create view,refresh view,verify view,verify view,verify view,verify view,refresh view,rebuild view,pause view,resume view,accept drift,reject drift,resume view,accept drift,remove view",
			b.text(t, "SELECT string_agg(action, ',' ORDER BY id) FROM daymill.audit WHERE via = 'web' AND actor = 'admin'"))
	})

	t.Run("Mistakes", func(t *testing.T) {
		t.Parallel()
		b := setupView(t)
		answer := b.post(t, "/definition", fields("action", "apply", "definition", apiView))
		require.Equal(t, http.StatusSeeOther, answer.status)
		for says, pairs := range map[string][]string{
			"Give from 1 to 10000 keys":            {"action", "refresh", "keys", " "},
			"The key [ is not a JSON array":        {"action", "refresh", "keys", "["},
			"The action must be":                   {"action", "explode"},
			"is not built yet":                     {"action", "verify"},
			"Drift must be the number of an entry": {"action", "accept", "drift", "x"},
			"Somebody has already decided":         {"action", "reject"},
			"characters that Postgres cannot":      {"action", "refresh", "keys", "a\x00"},
		} {
			answer := b.post(t, "/views/staff", fields(pairs...))
			require.Equal(t, http.StatusUnprocessableEntity, answer.status, pairs)
			require.Contains(t, answer.body, says)
			require.Contains(t, answer.body, "Refresh these keys", "the mistake is on the page of the view")
		}
		for _, path := range []string{"/views/none", "/views/%00", "/views/none/definition.yaml"} {
			require.Equal(t, http.StatusNotFound, b.get(t, path).status, path)
		}
		require.Equal(t, http.StatusNotFound, b.post(t, "/views/none", fields("action", "pause")).status)
	})

	t.Run("None", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), func(c *ui.Config) { c.Views = nil })
		require.Equal(t, http.StatusNotFound, s.get(t, "/views").status)
		require.NotContains(t, s.get(t, "/").body, `href="/views"`)
	})

	t.Run("Search", func(t *testing.T) {
		t.Parallel()
		b := setupView(t)
		b.db.Do(t, "INSERT INTO public.people SELECT i, 'running horses <b>' || i FROM generate_series(10, 80) AS i")
		require.Equal(t, http.StatusSeeOther, b.post(t, "/definition", fields("action", "apply", "definition", strings.Replace(apiView, `"schedule"`, `"search": {"columns": ["called"], "language": "english"}, "schedule"`, 1))).status)
		require.NotContains(t, b.get(t, "/views/staff").body, "Find rows with", "there is no table yet")
		require.Contains(t, b.get(t, "/views/staff/search?q=ann").body, "cannot be searched")
		b.work(t)
		require.Contains(t, b.get(t, "/views/staff").body, "Find rows with")
		found := b.get(t, "/views/staff/search?q=ann+-horses").body
		require.Contains(t, found, `<td class="hostile">ann</td>`)
		require.NotContains(t, found, "bob")
		found = b.get(t, "/views/staff/search?q="+url.QueryEscape(`"horse run" or horse -"x`)).body
		require.Contains(t, found, "running horses &lt;b&gt;")
		require.Contains(t, found, "The best 50.")
		require.Contains(t, b.get(t, "/views/staff/search?q="+url.QueryEscape(`') OR true; --`)).body, "No row has these words.")
		require.Equal(t, http.StatusUnprocessableEntity, b.get(t, "/views/staff/search?q=%00").status)
		require.Equal(t, http.StatusNotFound, b.get(t, "/views/none/search").status)
		answer := b.do(t, b.request(t, "viewer", http.MethodGet, "/views/staff/search?q=ann", ""))
		require.Equal(t, http.StatusOK, answer.status)
		require.NotContains(t, answer.body, `<td class="hostile">ann</td>`, "rows are for admins")
		require.Contains(t, answer.body, "An admin can search here.")
	})

	t.Run("Viewer", func(t *testing.T) {
		t.Parallel()
		b := setupView(t)
		b.staff(t)
		for _, path := range []string{"/views", "/views/staff", "/views/staff/definition.yaml", "/definition"} {
			answer := b.do(t, b.request(t, "viewer", http.MethodGet, path, ""))
			require.Equal(t, http.StatusOK, answer.status, path)
			require.NotContains(t, answer.body, `method="post"`, path)
			require.NotContains(t, answer.body, "hunter2", path)
			require.Equal(t, http.StatusUnauthorized, b.do(t, b.request(t, "", http.MethodGet, path, "")).status, path)
		}
		for _, path := range []string{"/views/staff", "/definition"} {
			body := fields("action", "pause", "definition", apiView)
			require.Equal(t, http.StatusUnauthorized, b.do(t, b.request(t, "", http.MethodPost, path, body)).status, path)
			require.Equal(t, http.StatusForbidden, b.do(t, b.request(t, "viewer", http.MethodPost, path, body)).status, path)
			request := b.request(t, "admin", http.MethodPost, path, body)
			request.Header.Set("Sec-Fetch-Site", "cross-site")
			require.Equal(t, http.StatusForbidden, b.do(t, request).status, path)
		}
	})
}

// TestViewsInBrowser uses the pages of views as a person does.
func TestViewsInBrowser(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]browser.Options{
		"Narrow": {Width: 390}, "NoJavaScript": {NoJavaScript: true}, "Wide": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupView(t)
			options.User, options.Password = "admin", adminPassword
			shown := browser.Open(t, options)
			shown.Go(t, b.URL+"/")
			shown.Click(t, `//nav//a[.="Views"]`)
			shown.Click(t, `//main//a[.="Write a definition"]`)
			shown.Fill(t, `//textarea[@id="text"]`, "name: staff\ntables:\n  - {table: people, columns: [id, nome]}")
			shown.Click(t, `//main//button[.="Apply"]`)
			shown.See(t, `//*[@role="alert"]//p[contains(., "definition:3:35")]`)
			shown.Fill(t, `//textarea[@id="text"]`, "name: staff\nschedule: {}\ntables:\n  - {table: people, columns: [id, name]}")
			shown.Click(t, `//main//button[.="Show what applying it would do"]`)
			shown.See(t, `//*[@role="status"]//p[contains(., "create staff")]`)
			shown.Click(t, `//main//button[.="Apply"]`)
			shown.See(t, `//*[@role="status"][contains(., "Applied")]`)
			b.work(t)
			if options.NoJavaScript {
				shown.Go(t, b.URL+"/views/staff")
			}
			shown.See(t, `//main//span[.="serving"]`) // With JavaScript, the page says so by itself.
			shown.Click(t, `//main//button[.="Pause"]`)
			shown.See(t, `//main//span[.="paused"]`)
			shown.Click(t, `//main//button[.="Resume"]`)
			shown.See(t, `//*[@role="status"][contains(., "Resumed")]`)
			b.db.Do(t, "ALTER TABLE public.people ADD COLUMN age integer")
			require.NoError(t, b.engine.Maintain(t.Context()))
			shown.Go(t, b.URL+"/views/staff")
			for _, path := range []string{"/views", "/views/staff", "/definition"} {
				shown.Go(t, b.URL+path)
				if !options.NoJavaScript {
					requireAccessible(t, shown)
					require.LessOrEqual(t, browser.Evaluate[int](t, shown, "document.documentElement.scrollWidth"), max(390, 1280*(1-min(1, options.Width))), path)
				}
			}
			shown.Go(t, b.URL+"/views/staff")
			shown.Click(t, `//main//button[starts-with(normalize-space(.), "Accept")]`)
			shown.See(t, `//*[@role="status"][contains(., "Accepted")]`)
			shown.Click(t, `//main//button[.="Remove…"]`)
			shown.Click(t, `//main//button[.="Remove the view"]`)
			shown.See(t, `//main//strong[.="There are no views."]`)
			_, err := view.Get(t.Context(), b.db.DB, "staff")
			require.ErrorIs(t, err, view.ErrNone)
		})
	}
}
