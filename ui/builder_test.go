package ui_test

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/test/browser"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/view/definition"
)

// setupBuilder creates orders and customers, whose changes are captured.
func setupBuilder(t *testing.T) *viewBundle {
	t.Helper()
	b := setupView(t)
	b.db.Do(t, `
		CREATE TABLE public.customers (id integer PRIMARY KEY, name text NOT NULL, profile jsonb);
		CREATE TABLE public.orders (id integer PRIMARY KEY, customer_id integer REFERENCES public.customers (id), state integer);
		CREATE INDEX ON public.orders (customer_id);
		INSERT INTO public.customers VALUES (1, 'ann', '{"address": {"city": "Rome"}}'), (2, 'bob', '{}');
		INSERT INTO public.orders VALUES (10, 1, 0), (11, 2, 1), (12, 1, 7)`)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	owner := stream.Owner{
		DB: b.db.DB, Source: b.db.DB, SourceURL: b.db.URL, Name: definition.App, Mode: stream.ModeTrigger, Tables: []string{"*"}, Process: "a test",
		Beat: 200 * time.Millisecond, Look: 200 * time.Millisecond, Poll: 5 * time.Millisecond,
	}
	go func() { done <- owner.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
	return b
}

// built works until a view serves.
func (b *viewBundle) built(t *testing.T, name string) {
	t.Helper()
	require.Eventually(t, func() bool {
		b.work(t)
		v, err := view.Get(t.Context(), b.db.DB, name)
		require.NoError(t, err)
		r, err := v.Report(t.Context(), b.db.DB)
		require.NoError(t, err)
		return r.State == view.StateServing
	}, time.Minute, 50*time.Millisecond)
}

// requireOrders fails unless the view of the tests is right, and its file, applied again, changes nothing.
func (b *viewBundle) requireOrders(t *testing.T) {
	t.Helper()
	b.built(t, "order_report")
	require.Equal(t, "(10,1,new,1,ann,Rome) (11,2,paid,2,bob,) (12,1,,1,ann,Rome)",
		b.text(t, "SELECT string_agg((id, customer_id, state, customers_id, name, city)::text, ' ' ORDER BY id) FROM views.order_report"))
	file := b.get(t, "/views/order_report/definition.yaml")
	require.Equal(t, "unchanged", b.post(t, "/definition", fields("action", "apply", "definition", file.body)).notice())
}

// requireTaken fails unless the builder says, beside the name, that there is a view of this name, and where it is.
func requireTaken(t *testing.T, body, name string) {
	t.Helper()
	require.Regexp(t, `id="wrong-name">\s*There is a view of this name already: choose another name, or change that view on\s*<a href="/views/`+name+`">its page</a>`, body)
}

func TestBuilder(t *testing.T) {
	t.Parallel()

	t.Run("ExpressionsScheduleAndDrift", func(t *testing.T) {
		t.Parallel()
		b := setupBuilder(t)
		b.db.Do(t, "ALTER TABLE public.customers ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now(); CREATE INDEX ON public.customers (changed_at)")
		form := []string{
			"name", "loud", "t", "app/public/customers", "c.0.0", "1", "c.0.1", "1", "q.0", "shout = upper(name)\r\n\r\nsize = length(name) = 3", "changed.0", "changed_at",
			"every", "30s", "full", "2h", "drift", "ask",
		}
		shown := b.post(t, "/builder", fields(append(form, "action", "show")...))
		require.Equal(t, http.StatusOK, shown.status, shown.body)
		require.Contains(t, shown.body, `<option value="ask" selected>`)
		require.Contains(t, shown.body, `<option value="changed_at" selected>`)
		answer := b.post(t, "/builder", fields(append(form, "action", "create")...))
		require.Equal(t, http.StatusSeeOther, answer.status, answer.body)
		b.built(t, "loud")
		require.Equal(t, "(1,ann,ANN,t) (2,bob,BOB,t)", b.text(t, "SELECT string_agg((id, name, shout, size)::text, ' ' ORDER BY id) FROM views.loud"))
		file := b.get(t, "/views/loud/definition.yaml").body
		for _, has := range []string{"drift: ask", "every: 30s", "full: 2h", "changed: changed_at", "expression: upper(name)"} {
			require.Contains(t, file, has)
		}
		require.Equal(t, "unchanged", b.post(t, "/definition", fields("action", "apply", "definition", file)).notice())
	})

	// Mistakes far down on the page: its top says that there are some, and they speak of fields, not of lines of a definition.
	t.Run("Marked", func(t *testing.T) {
		t.Parallel()
		b := setupBuilder(t)
		form := []string{"name", "two", "t", "app/public/orders", "t", "app/public/customers", "c.0.0", "1", "c.1.0", "1", "q.0", "nothing"}
		answer := b.post(t, "/builder", fields(append(form, "action", "create")...))
		require.Equal(t, http.StatusUnprocessableEntity, answer.status)
		require.Regexp(t, `role="alert">\s*3 fields below have mistakes: correct them and try again\.`, answer.body)
		require.Contains(t, answer.body, "The view would have two columns &#34;id&#34;: give one of them another name.")
		require.Equal(t, 3, strings.Count(answer.body, `class="wrong hostile"`))
		answer = b.post(t, "/builder", fields("name", "one", "t", "app/public/orders", "c.0.0", "1", "where", "id >", "action", "show"))
		require.Regexp(t, `role="alert">\s*A field below has a mistake: correct it and try again\.`, answer.body)
		answer = b.post(t, "/builder", fields("t", "app/public/orders", "add", "app/public/people", "action", "add"))
		require.Equal(t, http.StatusOK, answer.status)
		require.NotContains(t, answer.body, "below has", "a new table is not joined yet")
		require.NotContains(t, answer.body, "below have")
	})

	t.Run("Keyboard", func(t *testing.T) {
		t.Parallel()
		b := setupBuilder(t)
		shown := browser.Open(t, browser.Options{User: "admin", Password: adminPassword})
		to := func(what string) { // The id of a field, or the text of a button or link.
			t.Helper()
			for range 200 {
				shown.Type(t, "\t")
				if browser.Evaluate[string](t, shown, `((at) => at.id && !at.matches("a") ? at.id : at.textContent.trim())(document.activeElement)`) == what {
					return
				}
			}
			require.Fail(t, "the key Tab does not lead there", what)
		}
		shown.Go(t, b.URL+"/views")
		to("Build a view")
		shown.Type(t, "\r")
		shown.See(t, `//h2[.="The first table"]`)
		to("name")
		shown.Type(t, "order_report")
		to("add")
		shown.Type(t, kb.ArrowDown) // After public.customers.
		to("Add the table")
		shown.Type(t, "\r")
		shown.See(t, `//h2[.="public.orders"]`)
		to("add")
		to("Add the table")
		shown.Type(t, "\r")
		shown.See(t, `//h2[.="public.customers"]`)
		to("x.0.2")
		shown.Type(t, "0 new")
		to("Create the view")
		shown.Type(t, "\r")
		shown.See(t, `//*[@id="wrong-x.0.2"][contains(., "has no =")]`)
		require.Equal(t, "wrong-x.0.2", browser.Evaluate[string](t, shown, `document.getElementById("x.0.2").getAttribute("aria-describedby")`))
		requireAccessible(t, shown)
		to("x.0.2")
		shown.Type(t, strings.Repeat(kb.Delete, len("0 new"))+"0 = new\r1 = paid")
		to("x.1.2")
		shown.Type(t, "city = address.city")
		to("Create the view")
		shown.Type(t, "\r")
		shown.See(t, `//*[@role="status"][contains(., "Applied")]`)
		b.requireOrders(t)
	})

	t.Run("Mistakes", func(t *testing.T) {
		t.Parallel()
		b := setupView(t)
		b.db.Do(t, "CREATE TABLE public.pets (id integer PRIMARY KEY, person integer, tags jsonb)")
		people, pets := "app/public/people", "app/public/pets"
		wrong := regexp.MustCompile(`id="wrong-([^"]+)"`)
		for field, pairs := range map[string][]string{
			"add":       {"action", "add", "add", "app/public/none"},
			"f.1.0":     {"name", "a", "t", people, "t", pets, "c.0.0", "1", "f.1.0", "id", "s.1.0", "tags"},
			"n.0.0":     {"name", "a", "t", people, "c.0.0", "1", "n.0.0", "_daymill_x"},
			"changed.0": {"name", "a", "t", people, "c.0.0", "1", "changed.0", "id"},
			"every":     {"name", "a", "t", people, "c.0.0", "1", "every", "often"},
			"full":      {"name", "a", "t", people, "c.0.0", "1", "full", "2y"},
			"name":      {"t", people, "c.0.0", "1"},
			"q.0":       {"name", "a", "t", people, "c.0.0", "1", "q.0", "x = (SELECT 1)"},
			"q.1":       {"name", "a", "t", people, "t", pets, "c.0.0", "1", "f.1.0", "id", "s.1.0", "id", "q.1", "nonsense"},
			"search":    {"name", "a", "t", people, "c.0.0", "1", "search", "id, none"},
			"where":     {"name", "a", "t", people, "c.0.0", "1", "where", "random() < 1"},
			"x.0.2":     {"name", "a", "t", pets, "c.0.2", "1", "x.0.2", "a = b nonsense"},
		} {
			answer := b.post(t, "/builder", fields(append(pairs, "action", "create")...))
			require.Equal(t, http.StatusUnprocessableEntity, answer.status, answer.body)
			found := wrong.FindStringSubmatch(answer.body)
			require.NotNil(t, found, "%s: %s", field, answer.body)
			require.Equal(t, field, found[1], answer.body)
		}
		require.Equal(t, http.StatusUnprocessableEntity, b.post(t, "/builder", fields("t", "app/public/none")).status)
		require.Equal(t, http.StatusUnprocessableEntity, b.post(t, "/builder", fields("t", "x")).status)
		require.NotContains(t, b.get(t, "/builder").body, "hunter2")
		require.Contains(t, b.get(t, "/builder").body, "see $CRM_URL")
		require.Contains(t, b.get(t, "/views").body, "There are no views.")
		request := b.request(t, "viewer", http.MethodPost, "/builder", fields("name", "a", "t", people, "c.0.0", "1", "action", "create"))
		require.Equal(t, http.StatusForbidden, b.do(t, request).status)
		require.NotContains(t, b.do(t, b.request(t, "viewer", http.MethodGet, "/builder", "")).body, `method="post"`)
	})

	t.Run("NameIsTaken", func(t *testing.T) {
		t.Parallel()
		b := setupView(t)
		b.staff(t)
		people := []string{"t", "app/public/people", "c.0.0", "1"}
		before := b.get(t, "/views/staff/definition.yaml").body
		for _, action := range []string{"create", "show"} {
			answer := b.post(t, "/builder", fields(append(people, "name", " staff ", "action", action)...))
			require.Equal(t, http.StatusUnprocessableEntity, answer.status, answer.body)
			requireTaken(t, answer.body, "staff")
			require.Contains(t, answer.body, "First rows", "a person who chooses another name goes on from here")
			require.NotContains(t, answer.body, "rebuild staff", "the button does not do that")
		}
		require.Contains(t, b.post(t, "/builder", fields("name", "staff", "action", "add", "add", "app/public/people")).body, `id="wrong-name"`)
		require.Equal(t, before, b.get(t, "/views/staff/definition.yaml").body)
		require.Equal(t, "create view", b.text(t, "SELECT string_agg(action, ',') FROM daymill.audit WHERE target = 'staff'"))
		file := b.post(t, "/builder", fields(append(people, "name", "staff", "action", "download")...))
		require.Equal(t, http.StatusOK, file.status, file.body)
		require.Contains(t, file.header.Get("Content-Disposition"), "staff.yaml", "a file changes nothing")
		answer := b.post(t, "/builder", fields(append(people, "name", "staff_2", "action", "show")...))
		require.Equal(t, http.StatusOK, answer.status, answer.body)
		require.Contains(t, answer.body, "create staff_2", "another name is free")
	})

	t.Run("NameIsTakenAtTheSameTime", func(t *testing.T) {
		t.Parallel()
		b := setupView(t)
		other, err := b.db.Begin(t.Context())
		require.NoError(t, err)
		_, err = other.Exec(t.Context(), "INSERT INTO view.view (name, gap_seen) VALUES ('staff', 0)")
		require.NoError(t, err)
		answers := make(chan response, 1)
		go func() {
			form := fields("name", "staff", "t", "app/public/people", "c.0.0", "1", "every", "1m", "action", "create")
			answers <- b.post(t, "/builder", form) //nolint:testifylint // Without an answer, the test waits for it until its time is over.
		}()
		b.db.Wait(t, "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')")
		require.NoError(t, other.Commit(t.Context()))
		answer := <-answers
		require.Equal(t, http.StatusUnprocessableEntity, answer.status, answer.body)
		requireTaken(t, answer.body, "staff")
		require.Equal(t, "0", b.text(t, "SELECT count(*)::text FROM view.task"))
	})

	for name, options := range map[string]browser.Options{"Narrow": {Width: 390}, "NoJavaScript": {NoJavaScript: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupBuilder(t)
			options.User, options.Password = "admin", adminPassword
			shown := browser.Open(t, options)
			shown.Go(t, b.URL+"/builder")
			shown.Fill(t, `//input[@id="name"]`, "order_report")
			shown.Fill(t, `//select[@id="add"]`, "app/public/orders")
			shown.Click(t, `//main//button[.="Add the table"]`)
			shown.See(t, `//h2[.="public.orders"]`)
			shown.Fill(t, `//select[@id="add"]`, "app/public/customers")
			shown.Click(t, `//main//button[.="Add the table"]`)
			shown.See(t, `//h2[.="public.customers"]`)
			shown.Fill(t, `//textarea[@id="x.0.2"]`, "0 = new\n1 = paid")
			shown.Fill(t, `//textarea[@id="x.1.2"]`, "city = address.city")
			shown.Fill(t, `//textarea[@id="q.1"]`, "loud = upper(name)")
			shown.Click(t, `//main//button[.="Show the SQL and the first rows"]`)
			shown.See(t, `//main//td[.="Rome"]`)
			if !options.NoJavaScript {
				requireAccessible(t, shown)
				require.LessOrEqual(t, browser.Evaluate[int](t, shown, "document.documentElement.scrollWidth"), 390)
				require.Empty(t, browser.Evaluate[[]string](t, shown, `[...document.querySelectorAll(".scroll[aria-label^='Columns of']")].filter((at) => at.scrollWidth > at.clientWidth + 1)
					.map((at) => at.ariaLabel + " " + at.scrollWidth + " of " + at.clientWidth)`), "no column is off the screen")
			}
			shown.Click(t, `//main//button[.="Create the view"]`)
			shown.See(t, `//*[@role="status"][contains(., "Applied")]`)
			b.requireOrders(t)

			shown.Go(t, b.URL+"/builder")
			shown.Fill(t, `//input[@id="name"]`, "order_report")
			shown.Fill(t, `//select[@id="add"]`, "app/public/customers")
			shown.Click(t, `//main//button[.="Add the table"]`)
			shown.See(t, `//h2[.="public.customers"]`)
			shown.Click(t, `//main//button[.="Create the view"]`)
			shown.See(t, `//*[@id="wrong-name"][contains(., "There is a view of this name already")]`)
			if !options.NoJavaScript {
				requireAccessible(t, shown)
			}
			shown.Click(t, `//main//a[.="its page"]`)
			shown.See(t, `//h1[.="order_report"]`)
			b.requireOrders(t)
		})
	}
}
