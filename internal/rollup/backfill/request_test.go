package backfill_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/backfill"
)

func TestRequest(t *testing.T) {
	t.Parallel()
	today := date.MustParse("2026-03-10")

	t.Run("Defaults", func(t *testing.T) {
		t.Parallel()
		plan, err := backfill.Request{From: "2026-03-01", To: "2026-03-09"}.Plan(today)
		require.NoError(t, err)
		require.Equal(t, backfill.Plan{Range: date.Range{First: today.AddDays(-9), Last: today.AddDays(-1)}, InFlight: 1}, plan)
	})

	t.Run("Full", func(t *testing.T) {
		t.Parallel()
		three := 3
		plan, err := backfill.Request{
			From: "2026-03-01", To: "2026-03-01", NewestFirst: true, EveryDate: true, InFlight: &three, PauseSeconds: 1.5, Erase: true,
		}.Plan(today)
		require.NoError(t, err)
		require.Equal(t, backfill.Plan{
			Range: date.Range{First: today.AddDays(-9), Last: today.AddDays(-9)}, NewestFirst: true, EveryDate: true, InFlight: 3,
			Pause: 1500 * time.Millisecond, Erase: true,
		}, plan)
	})

	t.Run("Wrong", func(t *testing.T) {
		t.Parallel()
		zero, many := 0, backfill.MaxInFlight+1
		for name, c := range map[string]struct {
			request backfill.Request
			want    string
		}{
			"Future":   {backfill.Request{From: "2026-03-01", To: "2026-03-10"}, "is not over"},
			"InFlight": {backfill.Request{From: "2026-03-01", To: "2026-03-02", InFlight: &many}, "from 1 to 100"},
			"NoDate":   {backfill.Request{From: "2026-03-01"}, "first and a last date"},
			"NoFlight": {backfill.Request{From: "2026-03-01", To: "2026-03-02", InFlight: &zero}, "from 1 to 100"},
			"NoNumber": {backfill.Request{From: "2026-03-01", To: "2026-03-02", PauseSeconds: math.NaN()}, "24 hours"},
			"Pause":    {backfill.Request{From: "2026-03-01", To: "2026-03-02", PauseSeconds: -1}, "24 hours"},
			"Reversed": {backfill.Request{From: "2026-03-02", To: "2026-03-01"}, "reversed"},
			"Year0":    {backfill.Request{From: "0000-01-01", To: "2026-03-02"}, "year 1"},
		} {
			_, err := c.request.Plan(today)
			require.ErrorContains(t, err, c.want, name)
		}
	})
}
