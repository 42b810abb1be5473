package view_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
)

// TestFormerNames: after a view has followed a rename, its author's file says which name is new. A view that knows nothing of it says nothing.
func TestFormerNames(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, people)
	b.capture(t, stream.ModeTrigger)
	b.apply(t, read(t, peopleView))
	b.quiet(t)
	b.Do(t, "ALTER TABLE public.people RENAME COLUMN name TO called; ALTER TABLE public.people RENAME COLUMN called TO full_name; ALTER TABLE public.teams RENAME TO groups")
	require.NoError(t, b.engine.Maintain(t.Context()))
	refusal := func(file string) string {
		_, err := b.engine.Plan(t.Context(), read(t, file))
		require.Error(t, err)
		return err.Error()
	}
	const table = "test:5:5: database app has no table public.teams, or the role may not see it"
	require.Equal(t, table+"; the table was renamed to public.groups, and `daymill view show staff --yaml` prints the definition that Daymill uses", refusal(peopleView))
	require.Equal(t, table, refusal(strings.Replace(peopleView, "name: staff", "name: other", 1)))

	renamed := strings.Replace(peopleView, "table: teams", "table: groups", 1)
	const column = "; the column was renamed to full_name, and `daymill view show staff --yaml` prints the definition that Daymill uses"
	require.Contains(t, refusal(renamed), `table public.people has no column "name": it has `)
	require.True(t, strings.HasSuffix(refusal(renamed), column), refusal(renamed))
	require.NotContains(t, refusal(strings.Replace(renamed, "name: staff", "name: other", 1)), "renamed")
	require.NotContains(t, refusal(strings.Replace(renamed, "[id, name,", "[id, age2,", 1)), "renamed")
	require.Contains(t, refusal(strings.Replace(renamed, "[id, name,", "[id, {expression: upper(name), as: name},", 1)), `column "name" does not exist`)
	require.True(t, strings.HasSuffix(refusal(strings.Replace(renamed, "[id, name,", "[id, {expression: upper(name), as: name},", 1)), column))
}
