package view_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view"
)

// TestAlter: columns are added to a view's table and dropped from it without another table, while changes continue.
func TestAlter(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) *testBundle {
		t.Helper()
		b := setup(t, stream.ModeTrigger, shop+`; ALTER TABLE public.orders ADD COLUMN j jsonb; INSERT INTO public.customers SELECT i, 'c' || i FROM generate_series(1, 20) AS i;
			INSERT INTO public.orders SELECT i, i, now(), '{"n": 7}' FROM generate_series(1, 20) AS i; INSERT INTO public.lines SELECT i, 1, 'l' FROM generate_series(1, 15) AS i`)
		b.capture(t, stream.ModeTrigger)
		b.apply(t, read(t, lines))
		b.quiet(t)
		b.exact(t, "lines")
		return b
	}
	const table = "SELECT 'views.lines'::regclass::oid::text"
	const all = ", name, {column: name, as: upper, map: {c1: first}, keep: true}, {expression: \"upper(name)\", as: loud}, {column: old, as: gone, type: integer, deleted: true}]}"

	t.Run("AWorkerWithTheOldPlanLosesItsTask", func(t *testing.T) {
		t.Parallel()
		b := start(t)
		_, err := b.engine.Refresh(t.Context(), "lines", nil, who)
		require.NoError(t, err)
		applied := false
		old := *b.engine
		old.Chunk, old.Pace = 5, pace.Fixed(1)
		old.Clock = pauses{do: func() {
			if !applied {
				applied = true
				b.apply(t, read(t, strings.Replace(lines, ", name]}", all, 1)))
				b.Do(t, "UPDATE view.task SET retry_at = now() + interval '1 hour' WHERE state = 'running'") // The new task comes first.
				b.step(t.Context(), t)
			}
		}}
		_, err = old.Work(t.Context(), 2)
		require.ErrorIs(t, err, lease.ErrFenced)
		b.Do(t, "UPDATE view.task SET retry_at = NULL")
		b.quiet(t)
		b.exact(t, "lines")
		require.Equal(t, []string{"20"}, pgtest.Column[string](t, b.DB, "SELECT count(loud)::text FROM views.lines"))
	})

	t.Run("Columns", func(t *testing.T) {
		t.Parallel()
		b := start(t)
		before := pgtest.Column[string](t, b.DB, table)
		wider := strings.Replace(lines, ", name]}", all, 1)
		wider = strings.Replace(wider, "at]}", "{column: at, as: made}, {column: j, json: {n: {path: [n], type: integer}}}]}", 1)
		steps := b.apply(t, read(t, wider))
		require.Equal(t, view.StepAlter, steps[0].Verb)
		require.Equal(t, "adds upper, loud, gone, made, n; drops at; ALTER TABLE locks the table for a moment, and then new columns, which are NULL at first, are filled in chunks", steps[0].Why)
		require.Equal(t, []string{"20 0"}, pgtest.Column[string](t, b.DB, "SELECT count(name) || ' ' || count(loud) FROM views.lines"), "the table serves")
		slow := *b.engine
		slow.Chunk, slow.Pace = 3, pace.Fixed(1)
		changed := false
		slow.Clock = pauses{do: func() {
			if !changed {
				changed = true
				b.Do(t, "UPDATE public.customers SET name = 'x' WHERE id IN (1, 20); DELETE FROM public.orders WHERE id IN (2, 19); INSERT INTO public.customers VALUES (0, 'y'), (21, 'z')")
				b.deliver(t)
			}
		}}
		_, err := slow.Work(t.Context(), 2)
		require.NoError(t, err)
		require.True(t, changed)
		b.quiet(t)
		b.exact(t, "lines")
		require.Equal(t, before, pgtest.Column[string](t, b.DB, table), "it is the same table")
		require.Equal(t, []string{"X x 7 true"}, pgtest.Column[string](t, b.DB, "SELECT loud || ' ' || upper || ' ' || n || ' ' || (gone IS NULL) FROM views.lines WHERE customer_id = 1"))
		require.Equal(t, view.StepKeep, b.apply(t, read(t, wider))[0].Verb)

		steps = b.apply(t, read(t, lines)) // Without them, and with at, which has to be filled.
		require.Equal(t, "adds at; drops upper, loud, gone, made, n; ALTER TABLE locks the table for a moment, and then new columns, which are NULL at first, are filled in chunks", steps[0].Why)
		b.quiet(t)
		b.exact(t, "lines")
		steps = b.apply(t, read(t, strings.Replace(lines, ", at]", "]", 1)))
		require.Equal(t, "drops at; ALTER TABLE locks the table for a moment, and nothing is built", steps[0].Why)
		require.Empty(t, pgtest.Column[string](t, b.DB, "SELECT id::text FROM view.task WHERE state IN ('queued', 'running')"))
		b.Do(t, "UPDATE public.customers SET name = 'w' WHERE id = 3")
		b.quiet(t)
		b.exact(t, "lines")
		require.Equal(t, before, pgtest.Column[string](t, b.DB, table))
	})

	t.Run("ColumnsThatOthersUse", func(t *testing.T) {
		t.Parallel()
		b := start(t)
		b.Do(t, "CREATE VIEW public.mine AS SELECT item FROM views.lines")
		steps, err := b.engine.Plan(t.Context(), read(t, strings.Replace(lines, ", item]", "]", 1)))
		require.NoError(t, err)
		err = b.engine.Apply(t.Context(), steps, who)
		require.ErrorContains(t, err, `a column of "views"."lines" cannot be dropped, because other objects depend on it (view public.mine depends on column item of table views.lines): drop them first`)
		require.True(t, view.IsRefused(err))
		b.exact(t, "lines")
	})

	t.Run("WhatElseDiffersIsBuilt", func(t *testing.T) {
		t.Parallel()
		b := start(t)
		for what, pair := range map[string][2]string{
			"a condition":       {"name: lines", "name: lines\nwhere: id > 0"},
			"a join":            {"left: true, to: orders", "to: orders"},
			"a key":             {", name]}", ", {column: name, key: true}]}"},
			"a key's column":    {"{id: order_id}, at", "at"},
			"an index":          {"name: lines", "name: lines\nindexes: [[item]]"},
			"another value":     {", item]", ", {column: item, map: {a: b}}]"},
			"NOT NULL":          {", name]}", ", name, {column: id, as: again, nullable: false}]}"},
			"search":            {"name: lines", "name: lines\nsearch: {columns: [item]}"},
			"another condition": {"join: {id: customer_id}", "join: {id: id}"},
		} {
			text := strings.Replace(lines, pair[0], pair[1], 1)
			steps, err := b.engine.Plan(t.Context(), read(t, text))
			require.NoError(t, err, what)
			require.Equal(t, view.StepRebuild, steps[0].Verb, what)
		}
		b.apply(t, read(t, strings.Replace(lines, "name: lines", "name: lines\nindexes: [[item]]", 1)))
		steps, err := b.engine.Plan(t.Context(), read(t, strings.Replace(lines, ", at]", "]", 1)))
		require.NoError(t, err)
		require.Equal(t, view.StepRebuild, steps[0].Verb, "another table is being built")
		b.quiet(t)
		b.exact(t, "lines")
	})
}
