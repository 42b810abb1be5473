package health_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/health"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	check := func(name string, rank health.Rank, level health.Level, is bool) health.Check {
		return health.Check{Name: name, Rank: rank, Judge: func() (health.Finding, bool) { return health.Finding{Level: level}, is }}
	}
	names := func(findings []health.Finding) (all []string) {
		for _, finding := range findings {
			all = append(all, finding.Check)
		}
		return all
	}
	rollup := []health.Check{
		check("late", health.Behind, health.Wait, true), check("well", health.Well, health.Good, true),
		check("stopped", health.Standstill, health.Bad, true), check("fine", health.Standstill, health.Bad, false),
	}
	queue := []health.Check{check("paused", health.Standstill, health.Wait, true)}
	found := health.Judge(rollup, queue)
	require.Equal(t, []string{"stopped", "paused", "late"}, names(found))
	require.Equal(t, 1, health.Count(found, health.Bad))
	require.Equal(t, 2, health.Count(found, health.Wait))
	require.Equal(t, []string{"well"}, names(health.Judge(rollup[1:2])), "all is well only if there is no other finding")
	require.Empty(t, health.Judge())
}
