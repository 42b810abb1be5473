package ui_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/test/browser"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// captureBundle serves the pages over a log of orders and a consumer that refused some of them.
type captureBundle struct {
	*site

	writer *log.Writer
}

var committed = time.Date(2026, time.March, 10, 11, 0, 0, 0, time.UTC)

func setupCapture(t *testing.T, changes int) *captureBundle {
	t.Helper()
	b := &captureBundle{site: serve(t, database(t), nil)}
	b.fill(t, changes)
	return b
}

// fill creates the log and the consumer.
func (b *captureBundle) fill(t *testing.T, changes int) {
	t.Helper()
	b.clock.set(committed.Add(time.Hour))
	b.tx(t, func(tx pgx.Tx) error {
		who := audit.Who{Actor: "a test", Via: audit.ViaCLI}
		err := stream.Configure(t.Context(), tx, stream.Config{Name: "app", URL: "$DATABASE_URL", Tables: []string{"public.orders"}}, who)
		if err != nil {
			return err
		}
		return consumer.Create(t.Context(), tx, consumer.Consumer{
			Name: "events", Stream: "app", Kind: "webhook", Shards: 2, Settings: json.RawMessage(`{"url": "$EVENTS_URL"}`),
		}, 0, who)
	})
	var err error
	b.writer, err = log.Take(t.Context(), log.Config{DB: b.db.DB, Stream: "app", Owner: "worker 1"})
	require.NoError(t, err)
	b.land(t, changes)
}

// land writes changes of ten rows in turn to the log, a second apart.
func (b *captureBundle) land(t *testing.T, count int) {
	t.Helper()
	list := make([]change.Change, count)
	for i := range list {
		n := b.writer.Position() + int64(i) + 1
		list[i] = change.Change{
			Op: change.Update, Schema: "public", Table: "orders", Key: json.RawMessage(fmt.Sprintf(`{"id": %d}`, n%10)),
			Old: json.RawMessage(fmt.Sprintf(`{"id": %d, "note": "old"}`, n%10)), New: json.RawMessage(fmt.Sprintf(`{"id": %d, "note": "<b>%d</b>"}`, n%10, n)),
			XID: 771, LSN: "0/1A2B3C8", Ordinal: i + 1, CommittedAt: committed.Add(time.Duration(n) * time.Second), SchemaVersion: 1,
		}
	}
	require.NoError(t, b.writer.Land(t.Context(), list, log.Mark{LSN: "0/1A2B3C8", CommittedAt: list[count-1].CommittedAt}))
}

func (b *captureBundle) tx(t *testing.T, do func(tx pgx.Tx) error) {
	t.Helper()
	require.NoError(t, b.db.Tx(t.Context(), do))
}

// letters turns the first changes into dead letters: every other one is refused, with one of two reasons.
func (b *captureBundle) letters(t *testing.T, count int) {
	t.Helper()
	b.db.Do(t, `INSERT INTO capture.letter (consumer, shard, position, key_hash, key, change, state, reason, answer)
		SELECT 'events', 0, l.position, sha256(l.key::text::bytea), l.key::text,
			json_build_object('position', l.position, 'stream', 'app', 'op', l.op, 'schema', l.schema_name, 'table', l.table_name, 'key', l.key, 'new', l.new),
			CASE l.position % 2 WHEN 0 THEN 'refused' ELSE 'waiting' END,
			CASE l.position % 4 WHEN 0 THEN 'it answered 400' WHEN 2 THEN 'it answered 422' ELSE 'it waits behind an earlier change of its key' END,
			'<html>no</html>'
		FROM capture.log AS l WHERE l.position <= $1`, count)
}

// positions returns the positions of the changes that a page lists.
func positions(body string) (all []string) {
	for part := range strings.SplitSeq(body, `<a href="/changes/app/`) {
		if position, _, is := strings.Cut(part, `"`); is && !strings.Contains(position, "<") {
			all = append(all, position)
		}
	}
	return all
}

func TestCapture(t *testing.T) {
	t.Parallel()

	t.Run("Changes", func(t *testing.T) {
		t.Parallel()
		b := setupCapture(t, 123)
		var down, up []string
		path := "/changes"
		for path != "" {
			body := b.get(t, path).body
			down = append(down, positions(body)...)
			path = followed(body, "next")
		}
		require.Len(t, down, 123)
		require.Equal(t, "123", down[0])
		require.Equal(t, "1", down[122])
		path = "/changes?after=1"
		for path != "" {
			body := b.get(t, path).body
			up = append(positions(body), up...)
			path = followed(body, "prev")
		}
		require.Equal(t, down[:122], up)

		body := b.get(t, "/changes?table=public.orders&key="+url.QueryEscape(`{"id":7}`)).body
		require.Contains(t, body, "History of a row")
		require.Equal(t, []string{"117", "107", "97", "87", "77", "67", "57", "47", "37", "27", "17", "7"}, positions(body))
		require.Equal(t, positions(body), positions(b.get(t, "/changes?key=7").body))
		require.Empty(t, positions(b.get(t, "/changes?table=orders&op=delete").body))
		require.Equal(t, "10", positions(b.get(t, "/changes?until=2026-03-10T11:00:10").body)[0])
		require.Empty(t, positions(b.get(t, "/changes?until=2026-03-10T10:00").body))
		for query, status := range map[string]int{
			"op=bogus": 422, "until=now": 422, "database=none": 422, "before=x": 422, "key=%7B": 422, "key=" + url.QueryEscape(`{"id": "\u0000"}`): 422,
		} {
			require.Equal(t, status, b.get(t, "/changes?"+query).status, query)
		}

		body = b.get(t, "/changes/app/17").body
		require.Contains(t, body, "0/1A2B3C8")
		require.Contains(t, body, "&lt;b&gt;17&lt;/b&gt;")
		require.Contains(t, body, "/changes?database=app&amp;key=%7B%22id%22%3A+7%7D&amp;table=public.orders")
		for _, path := range []string{"/changes/app/124", "/changes/app/0", "/changes/none/1", "/changes/app/x"} {
			require.Equal(t, http.StatusNotFound, b.get(t, path).status, path)
		}
	})

	t.Run("Consumers", func(t *testing.T) {
		t.Parallel()
		b := setupCapture(t, 20)
		b.db.Do(t, "UPDATE capture.shard SET position = 5, failures = 3, error = 'it answered 503 <b>' WHERE shard = 1")
		b.db.Do(t, `INSERT INTO capture.consumer (name, stream, kind, settings) VALUES ('view-1', 'app', 'view', '{"view": 1, "title": "sales by day"}');
			INSERT INTO capture.shard (consumer, shard, position) VALUES ('view-1', 0, 0)`)
		require.Contains(t, b.get(t, "/consumers").body, `href="/consumers/view-1">sales by day</a>`)
		require.Contains(t, b.get(t, "/consumers/view-1").body, ">sales by day</h1>")
		b.db.Do(t, "DELETE FROM capture.consumer WHERE name = 'view-1'")
		body := b.get(t, "/consumers").body
		require.Contains(t, body, "failing")
		require.Contains(t, body, "it answered 503 &lt;b&gt;")
		body = b.get(t, "/consumers/events").body
		require.Contains(t, body, "$EVENTS_URL")
		require.Contains(t, body, "59 min 59 s", "since the commit of the first change that it does not have")
		require.Equal(t, http.StatusNotFound, b.get(t, "/consumers/none").status)

		require.Equal(t, http.StatusSeeOther, b.post(t, "/consumers/events", "action=pause&because=too+slow").status)
		require.Contains(t, b.get(t, "/consumers/events").body, "too slow")
		require.Equal(t, http.StatusSeeOther, b.post(t, "/consumers/events", "action=resume").status)
		for to, text := range map[string]string{"x": "is not a position", "-1": "is not a position", "21": "ends at position 20", "": "is not a position"} {
			answer := b.post(t, "/consumers/events", "action=rewind&confirm=1&to="+to)
			require.Equal(t, http.StatusUnprocessableEntity, answer.status, to)
			require.Contains(t, answer.body, text)
		}
		answer := b.post(t, "/consumers/events", "action=rewind&to=12")
		require.Equal(t, http.StatusOK, answer.status)
		require.Contains(t, answer.body, "It never receives the changes after position 0 and up to position 12.")
		require.Zero(t, pgtest.Value[int64](t, b.db, "SELECT min(position) FROM capture.shard"))
		require.Equal(t, http.StatusSeeOther, b.post(t, "/consumers/events", "action=rewind&confirm=1&to=12").status)
		require.EqualValues(t, 12, pgtest.Value[int64](t, b.db, "SELECT min(position) FROM capture.shard"))
		require.Equal(t, http.StatusUnprocessableEntity, b.post(t, "/consumers/events", "action=explode").status)
		require.Equal(t, http.StatusSeeOther, b.post(t, "/consumers/events", "action=snapshot").status)
		require.Equal(t, "events", pgtest.Value[string](t, b.db, "SELECT consumer FROM capture.snapshot_request"))
		for _, action := range []string{"pause", "snapshot"} {
			require.Equal(t, http.StatusNotFound, b.post(t, "/consumers/none", "action="+action).status)
		}
		require.Equal(t, "admin web pause consumer, admin web resume consumer, admin web rewind consumer, admin web snapshot consumer", pgtest.Value[string](t, b.db,
			"SELECT string_agg(concat_ws(' ', actor, via, action), ', ' ORDER BY id) FROM daymill.audit WHERE actor = 'admin'"))
	})

	t.Run("DeadLetters", func(t *testing.T) {
		t.Parallel()
		b := setupCapture(t, 40)
		require.Contains(t, b.get(t, "/deadletters").body, "There are no dead letters.")
		b.letters(t, 40)
		body := b.get(t, "/deadletters").body
		require.Contains(t, body, "/deadletters/events?reason=it+answered+400&amp;state=refused")
		require.Contains(t, body, "/deadletters/events?reason=it+answered+422&amp;state=refused")
		body = b.get(t, "/deadletters/events/4").body
		require.Contains(t, body, "&lt;html&gt;no&lt;/html&gt;")
		require.Contains(t, body, "&lt;b&gt;4&lt;/b&gt;")
		require.NotContains(t, body, "0001-01-01", "a change without the time of its commit")
		body = b.get(t, "/deadletters/events?reason=it+answered+400&state=refused").body
		require.Equal(t, 10, strings.Count(body, `name="position"`))

		answer := b.post(t, "/deadletters/events", "action=discard&all=1&reason=it+answered+400&state=refused")
		require.Equal(t, http.StatusOK, answer.status)
		require.Contains(t, answer.body, "Discard all of these dead letters")
		require.Contains(t, b.post(t, "/deadletters/events", "action=discard&position=4").body, "Discard 1 dead letter? The consumer <strong>events</strong> then never receives these changes.")
		require.EqualValues(t, 40, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM capture.letter"))
		answer = b.post(t, "/deadletters/events", "action=discard&all=1&reason=it+answered+400&state=refused&confirm=1")
		require.Equal(t, http.StatusSeeOther, answer.status)
		require.EqualValues(t, 30, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM capture.letter"))
		require.Equal(t, http.StatusUnprocessableEntity,
			b.post(t, "/deadletters/events", "action=discard&all=1&reason=it+answered+400&state=refused&confirm=1").status, "and not all others instead")
		require.EqualValues(t, 30, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM capture.letter"))

		require.Equal(t, http.StatusSeeOther, b.post(t, "/deadletters/events", "action=discard&confirm=1&position=1&position=3").status)
		require.EqualValues(t, 28, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM capture.letter"))
		replayed := func() int64 {
			return pgtest.Value[int64](t, b.db, "SELECT count(*) FROM capture.letter WHERE replay_at IS NOT NULL")
		}
		require.EqualValues(t, 6, replayed(), "those that waited behind discarded ones")
		require.Equal(t, http.StatusSeeOther, b.post(t, "/deadletters/events", "action=replay&position=2").status)
		require.EqualValues(t, 8, replayed(), "the letters of the key, too")
		for _, form := range []string{"action=replay", "action=replay&position=x", "action=explode&all=1", "action=replay&all=1&state=bogus"} {
			require.Equal(t, http.StatusUnprocessableEntity, b.post(t, "/deadletters/events", form).status, form)
		}
		require.Equal(t, http.StatusNotFound, b.get(t, "/deadletters/none").status)
		require.Equal(t, http.StatusNotFound, b.get(t, "/deadletters/events/4").status)
	})

	t.Run("Empty", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		for path, text := range map[string]string{
			"/capture": "Nothing is captured.", "/consumers": "There are no consumers.", "/changes": "The log is empty.", "/deadletters": "There are no dead letters.",
		} {
			answer := s.get(t, path)
			require.Equal(t, http.StatusOK, answer.status)
			require.Contains(t, answer.body, text)
		}
	})

	t.Run("Snapshots", func(t *testing.T) {
		t.Parallel()
		b := setupCapture(t, 2)
		b.db.Do(t, `INSERT INTO capture.snapshot (stream_id, schema_name, table_name, consumer, state, rows, estimate, chunks, started_at, moved_at)
			SELECT s.id, 'public', 'orders', 'events', 'running', 250, 1000, 3, now() - interval '10 seconds', now() FROM capture.stream AS s`)
		for _, path := range []string{"/capture", "/consumers/events"} {
			body := b.get(t, path).body
			require.Contains(t, body, "250 rows of about 1,000, about 30 s left", path)
			require.Contains(t, body, "25 %", path)
		}
		for _, action := range []string{"pause", "resume", "restart", "cancel"} {
			require.Equal(t, http.StatusSeeOther, b.post(t, "/capture/snapshots/1", "action="+action).status, action)
		}
		require.Equal(t, "cancelled", pgtest.Value[string](t, b.db, "SELECT state FROM capture.snapshot"))
		require.Equal(t, "pause snapshot, resume snapshot, restart snapshot, cancel snapshot", pgtest.Value[string](t, b.db,
			"SELECT string_agg(action, ', ' ORDER BY id) FROM daymill.audit WHERE actor = 'admin' AND via = 'web'"))
		require.Equal(t, http.StatusUnprocessableEntity, b.post(t, "/capture/snapshots/1", "action=pause").status)
		require.Equal(t, http.StatusUnprocessableEntity, b.post(t, "/capture/snapshots/1", "action=explode").status)
		require.NotContains(t, b.get(t, "/capture").body, "Begin again")
	})

	t.Run("Streams", func(t *testing.T) {
		t.Parallel()
		b := setupCapture(t, 20)
		b.db.Do(t, `UPDATE capture.stream SET mode = 'wal', mode_reason = 'wal_level is logical', state = 'running', retained = 3 << 20, behind = 5000, guarded_at = now(), warn_at = 2::bigint << 30, drop_at = 5::bigint << 30,
			landed_at = committed_at + interval '7 milliseconds', beat_at = $1`, committed.Add(time.Hour))
		b.db.Do(t, `INSERT INTO capture.captured (stream_id, schema_name, table_name, oid, identity, reason) SELECT s.id, 'public', 'orders', 1, 'default', ''
			FROM capture.stream AS s`)
		b.db.Do(t, `INSERT INTO capture.captured (stream_id, schema_name, table_name, oid, identity, reason)
			SELECT s.id, 'public', 'notes', 2, 'nothing', 'it has no key: ALTER TABLE public.notes REPLICA IDENTITY FULL' FROM capture.stream AS s`)
		b.db.Do(t, `INSERT INTO capture.gap (stream_id, kind, reason, after) SELECT s.id, 'slot', 'the slot was <dropped>', 3 FROM capture.stream AS s`)
		body := b.get(t, "/capture").body
		for _, text := range []string{
			"its WAL: wal_level is logical", "3 MiB", "5 KiB", "7.0 ms", "2.0 GiB", "5.0 GiB", "ALTER TABLE public.notes REPLICA IDENTITY FULL", "the slot was &lt;dropped&gt;", "worker 1",
		} {
			require.Contains(t, body, text)
		}
		b.clock.set(committed.Add(2 * time.Hour))
		require.Contains(t, b.get(t, "/capture").body, "No worker reads this database")
	})

	t.Run("Viewer", func(t *testing.T) {
		t.Parallel()
		b := setupCapture(t, 4)
		b.letters(t, 4)
		for _, path := range []string{"/capture", "/consumers", "/consumers/events", "/changes", "/changes/app/1", "/deadletters", "/deadletters/events", "/deadletters/events/2"} {
			answer := b.do(t, b.request(t, "viewer", http.MethodGet, path, ""))
			require.Equal(t, http.StatusOK, answer.status, path)
			require.NotContains(t, answer.body, `method="post"`, path)
			require.Equal(t, http.StatusUnauthorized, b.do(t, b.request(t, "", http.MethodGet, path, "")).status, path)
		}
		for _, path := range []string{"/capture", "/consumers", "/consumers/events", "/deadletters/events"} {
			require.Equal(t, http.StatusForbidden, b.do(t, b.request(t, "viewer", http.MethodPost, path, "action=pause&all=1")).status, path)
			request := b.request(t, "admin", http.MethodPost, path, "action=pause&all=1")
			request.Header.Set("Sec-Fetch-Site", "cross-site")
			require.Equal(t, http.StatusForbidden, b.do(t, request).status, path)
		}
	})
}

// TestCapture_Apply: tables and sinks are added piece by piece, without a file, and mistakes are shown beside what was entered.
func TestCapture_Apply(t *testing.T) {
	t.Parallel()
	b := setupCapture(t, 3)
	send := func(path string, fields url.Values) response {
		return b.do(t, b.request(t, "admin", http.MethodPost, path, fields.Encode()))
	}
	tables := func(name string) []string {
		there, err := stream.Get(t.Context(), b.db.DB, name)
		require.NoError(t, err)
		require.Equal(t, name == "crm", there.NoRepair)
		require.Equal(t, name == "app", slices.Equal([]string{"public.item_*"}, there.KeysOnly))
		return there.Tables
	}
	require.Equal(t, http.StatusSeeOther, send("/capture", url.Values{"database": {"app"}, "url": {"$DATABASE_URL"}, "tables": {"public.orders\r\npublic.item_*, !public.drafts"}, "keys_only": {"public.item_*"}, "repair": {"1"}}).status)
	require.Equal(t, []string{"public.orders", "public.item_*", "!public.drafts"}, tables("app"))
	require.Equal(t, http.StatusSeeOther, send("/capture", url.Values{"new": {"1"}, "database": {"crm"}, "url": {"$CRM_URL"}, "tables": {"sales"}}).status)
	require.Equal(t, []string{"sales"}, tables("crm"))
	for _, wrong := range []url.Values{
		{"new": {"1"}, "database": {"<b>"}, "url": {"$X_URL"}, "tables": {"sales"}},
		{"new": {"1"}, "database": {"erp"}, "url": {"postgres://u:secret@h/d"}, "tables": {"sales"}},
		{"new": {"1"}, "database": {"erp"}, "url": {"$ERP_URL"}},
		{"new": {"1"}, "database": {"app"}, "url": {"$X_URL"}, "tables": {"sales"}},
		{"database": {"app"}, "url": {"$DATABASE_URL"}, "tables": {"a.b.c.d"}},
		{"new": {"1"}, "url": {"$ERP_URL"}, "tables": {"sales"}},
	} {
		got := send("/capture", wrong)
		require.Equal(t, http.StatusUnprocessableEntity, got.status, wrong)
		require.Contains(t, got.body, `role="alert"`)
		require.NotContains(t, got.body, "<b>\"")
	}
	require.Equal(t, []string{"public.orders", "public.item_*", "!public.drafts"}, tables("app"))

	sink := url.Values{
		"name": {"hook"}, "kind": {"webhook"}, "url": {"$HOOK_URL"}, "tables": {"public.orders"}, "database": {"app"}, "from": {"snapshot"}, "shards": {"3"},
		"more": {`{"batch": true, "secret": "$HOOK_SECRET"}`},
	}
	require.Equal(t, http.StatusSeeOther, send("/consumers", sink).status)
	one, err := consumer.Get(t.Context(), b.db.DB, "hook")
	require.NoError(t, err)
	require.Equal(t, 3, one.Shards)
	require.JSONEq(t, `{"url": "$HOOK_URL", "tables": ["public.orders"], "batch": true, "secret": "$HOOK_SECRET"}`, string(one.Settings))
	require.EqualValues(t, 1, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM capture.snapshot_request WHERE consumer = 'hook'"))
	for name, text := range map[string]string{
		"name": "Wrong Name", "kind": "pigeon", "url": "https://user:pass@example.com", "from": "yesterday", "shards": "many", "more": "batch: true", "database": "none",
	} {
		wrong := url.Values{}
		maps.Copy(wrong, sink)
		wrong.Set("name", "other")
		wrong.Set(name, text)
		got := send("/consumers", wrong)
		require.Equal(t, http.StatusUnprocessableEntity, got.status, name)
		require.Contains(t, got.body, `role="alert"`, name)
	}
	require.Equal(t, http.StatusUnprocessableEntity, send("/consumers", sink).status, "the name is taken")
	require.Contains(t, b.get(t, "/consumers").body, `href="/consumers/hook"`)
	require.NotContains(t, b.get(t, "/consumers/hook").body, "Rows that are deleted during a gap")
	require.Equal(t, http.StatusSeeOther, send("/consumers", url.Values{"name": {"reader"}, "kind": {"poll"}, "tables": {"public.orders"}}).status)
	require.Contains(t, b.get(t, "/consumers/reader").body, "Rows that are deleted during a gap")
	swept := url.Values{"name": {"swept"}, "kind": {"poll"}, "tables": {"public.orders"}, "more": {`{"ops": ["insert", "update", "delete", "truncate", "sweep"]}`}}
	require.Equal(t, http.StatusSeeOther, send("/consumers", swept).status)
	require.NotContains(t, b.get(t, "/consumers/swept").body, "Rows that are deleted during a gap")
}

// TestCaptureInBrowser uses the pages of capture as a person does.
func TestCaptureInBrowser(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]browser.Options{
		"Narrow": {Width: 390}, "NoJavaScript": {NoJavaScript: true}, "Wide": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupCapture(t, 60)
			b.letters(t, 20)
			options.User, options.Password = "admin", adminPassword
			shown := browser.Open(t, options)
			shown.Go(t, b.URL+"/capture")
			shown.Click(t, `//nav[@aria-label="Capture"]//a[.="Consumers"]`)
			shown.Click(t, `//main//a[.="events"]`)
			shown.Click(t, `//main//button[.="Pause"]`)
			shown.See(t, `//main//button[.="Resume"]`)
			shown.Fill(t, `//input[@id="to"]`, "7")
			shown.Click(t, `//main//button[.="Rewind…"]`)
			shown.Click(t, `//main//button[.="Continue after position 7"]`)
			shown.See(t, `//*[@role="status"][contains(., "Rewound")]`)
			shown.Click(t, `//nav[@aria-label="Capture"]//a[.="Changes"]`)
			shown.Click(t, `//main//tr[1]//a[contains(., "60")]`)
			shown.Click(t, `//main//a[.="Its history"]`)
			shown.See(t, `//h1[.="History of a row"]`)
			shown.Click(t, `//nav[@aria-label="Capture"]//a[.="Dead letters"]`)
			shown.Click(t, `//main//a[contains(., "it answered 400")]`)
			shown.Click(t, `//main//button[.="Discard all…"]`)
			shown.Click(t, `//main//button[.="Discard"]`)
			shown.See(t, `//*[@role="status"][.="Discarded."]`)
			require.EqualValues(t, 15, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM capture.letter"))
			for _, path := range []string{"/capture", "/consumers", "/consumers/events", "/changes", "/changes/app/1", "/deadletters", "/deadletters/events"} {
				shown.Go(t, b.URL+path)
				if !options.NoJavaScript {
					require.LessOrEqual(t, browser.Evaluate[int](t, shown, "document.documentElement.scrollWidth"), max(390, 1280*(1-min(1, options.Width))), path)
				}
			}
			if options.Width > 0 {
				shown.Go(t, b.URL+"/changes")
				require.True(t, browser.Evaluate[bool](t, shown, `((at) => at.scrollWidth <= at.clientWidth)(document.querySelector("main .scroll"))`))
			}
		})
	}
}
