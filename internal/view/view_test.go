package view_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view"
)

const users = `
	CREATE TABLE public.users (id uuid PRIMARY KEY, email text, json_transform jsonb, status integer);
	CREATE TABLE public.profiles (user_id uuid PRIMARY KEY, age integer);
	INSERT INTO public.users VALUES
		('00000000-0000-0000-0000-000000000001', 'a@x', '{"field1_in_json": 7, "field2_in_json": "seven"}', 1),
		('00000000-0000-0000-0000-000000000002', NULL, '{"field1_in_json": "many", "field2_in_json": null}', 3),
		('00000000-0000-0000-0000-000000000003', 'c@x', NULL, 9);
	INSERT INTO public.profiles VALUES ('00000000-0000-0000-0000-000000000001', 30), ('00000000-0000-0000-0000-000000000002', NULL)`

// TestInsightForge: its examples give the promised rows, and stay correct as rows change.
func TestInsightForge(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{stream.ModeTrigger, stream.ModeWAL} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b := setup(t, mode, users)
			b.capture(t, mode)
			for _, name := range []string{"user_basic_info", "user_basic_info_endpoints"} {
				b.apply(t, file(t, name+".json"))
			}
			b.quiet(t)
			for _, name := range []string{"user_basic_info", "user_basic_info_endpoints"} {
				b.exact(t, name)
				require.Equal(t, []string{"user_id uuid", "email text", "field1_view_column integer", "field2_view_column text", "status_label text", "age integer", "test character varying"},
					pgtest.Column[string](t, b.DB, `SELECT attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute
						WHERE attrelid = to_regclass('views.' || $1) AND attnum > 0 AND attname NOT LIKE '\_daymill%' ORDER BY attnum`, name))
				require.Equal(t, []string{"a@x,7,seven,Создан,30,-", "-,-,-,Завершен,-,-"},
					pgtest.Column[string](t, b.DB, `SELECT concat_ws(',', coalesce(email, '-'), coalesce(field1_view_column::text, '-'), coalesce(field2_view_column, '-'), status_label, coalesce(age::text, '-'), coalesce(test, '-'))
						FROM views.`+name+` ORDER BY user_id`))
			}
			b.Do(t, `UPDATE public.users SET status = 2 WHERE email = 'a@x'`)
			b.Do(t, `INSERT INTO public.profiles VALUES ('00000000-0000-0000-0000-000000000003', 5)`)
			b.Do(t, `UPDATE public.profiles SET user_id = '00000000-0000-0000-0000-000000000009' WHERE age IS NULL`)
			b.quiet(t)
			b.exact(t, "user_basic_info")
			b.exact(t, "user_basic_info_endpoints")
			require.Equal(t, []string{"В обработке", "-"}, pgtest.Column[string](t, b.DB, "SELECT coalesce(status_label, '-') FROM views.user_basic_info ORDER BY user_id"))
			b.Do(t, "TRUNCATE public.profiles")
			b.quiet(t)
			b.exact(t, "user_basic_info")
			require.Empty(t, pgtest.Column[string](t, b.DB, "SELECT 'x' FROM views.user_basic_info"))
			again := b.apply(t, file(t, "user_basic_info.json"))
			require.Equal(t, view.StepKeep, again[0].Verb, again[0].Why)
		})
	}
}

// TestFailure: a failed refresh is over when a build, or a verification that leaves nothing, has corrected its rows. Another refresh is about other rows.
func TestFailure(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, shop)
	b.capture(t, stream.ModeTrigger)
	b.apply(t, read(t, named))
	b.quiet(t)
	ended := func(kind, state string, differing int) bool {
		b.Do(t, `INSERT INTO view.task (view_id, version_id, kind, state, differing, error, finished_at)
			SELECT view_id, id, $1, $2, $3, 'no', now() FROM view.version`, kind, state, differing)
		report, err := b.view(t, "named").Report(t.Context(), b.DB)
		require.NoError(t, err)
		return report.Failure == nil
	}
	require.False(t, ended(view.TaskRefresh, view.Failed, 0))
	require.False(t, ended(view.TaskRefresh, view.Done, 0))
	require.False(t, ended(view.TaskVerify, view.Done, 1))
	require.True(t, ended(view.TaskVerify, view.Done, 0))
	require.False(t, ended(view.TaskRefresh, view.Failed, 0))
	require.True(t, ended(view.TaskBuild, view.Done, 0))
}
