package ui_test

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/browser"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/ui"
)

// TestTabs sends forms of pages that are no longer true, because somebody has changed the same in another tab: the answer says what happened.
func TestTabs(t *testing.T) {
	t.Parallel()

	t.Run("Browser", func(t *testing.T) {
		t.Parallel()
		for _, options := range []browser.Options{{}, {NoJavaScript: true}} {
			s := serve(t, database(t), func(c *ui.Config) { c.BasePath = "/daymill" })
			s.db.Do(t, `INSERT INTO analytics.backfills (first_date, last_date, state) VALUES ('2026-02-01', '2026-02-03', 'paused')`)
			options.User, options.Password = "admin", adminPassword
			shown := browser.Open(t, options)
			shown.Go(t, s.URL+"/daymill/backfills/1")
			shown.See(t, `//main//button[.="Resume"]`)
			require.Equal(t, "cancelled", s.post(t, "/daymill/backfills/1", "action=cancel").notice())
			shown.Click(t, `//main//button[.="Resume"]`)
			shown.See(t, `//*[@role="alert"][contains(., "the backfill has ended: it is cancelled")]`)
			shown.Click(t, `//main//a[.="Back to the page with the form"]`)
			shown.See(t, `//h1[contains(., "Backfill")]`)
			require.Equal(t, s.URL+"/daymill/backfills/1", shown.Location(t))
		}
	})

	t.Run("Stale", func(t *testing.T) {
		t.Parallel()
		b := setupView(t)
		b.staff(t)
		c := &captureBundle{site: b.site}
		c.fill(t, 30)
		c.letters(t, 20)
		b.db.Do(t, `INSERT INTO analytics.backfills (first_date, last_date) VALUES ('2026-02-01', '2026-02-03')`)
		job := "/jobs/" + strconv.FormatInt(pgtest.Value[int64](t, b.db, `INSERT INTO river_job (kind, args, max_attempts, queue)
			VALUES ('rollup_day', '{"date": "2026-03-01"}', 10, 'daymill') RETURNING id`), 10)
		const (
			gone      = "What you wanted to change does not exist, or no longer: somebody may have removed it. Nothing was changed."
			noLetters = "These dead letters no longer exist: they were delivered, or somebody has discarded them."
		)
		for _, one := range []struct{ path, first, second, says string }{ // Without a sentence, the second form is as good as the first.
			{"/schedule", "action=pause", "action=pause", ""},
			{"/schedule", "action=resume", "action=resume", ""},
			{"/backfills/1", "action=pause", "action=pause", ""},
			{"/backfills/1", "action=resume", "action=resume", ""},
			{"/backfills/1", "action=cancel", "action=resume", "the backfill has ended: it is cancelled"},
			{"/consumers/events", "action=pause", "action=pause", ""},
			{"/consumers/events", "action=resume", "action=resume", ""},
			{"/deadletters/events", "action=discard&position=2&confirm=1", "action=discard&position=2&confirm=1", noLetters},
			{"/deadletters/events", "action=discard&position=4&confirm=1", "action=replay&position=4", noLetters},
			{"/deadletters/events", "action=discard&all=1&confirm=1", "action=replay&all=1", noLetters},
			{job, "action=cancel", "action=cancel", "is not cancelled: it had already ended"},
			{job, "action=delete", "action=retry", gone},
			{"/views/staff", "action=pause", "action=pause", ""},
			{"/views/staff", "action=resume", "action=resume", ""},
			{"/views/staff", "action=remove&confirm=1", "action=pause", gone},
		} {
			require.Equal(t, http.StatusSeeOther, b.post(t, one.path, one.first).status, one)
			answer := b.post(t, one.path, one.second)
			if one.says == "" {
				require.Equal(t, http.StatusSeeOther, answer.status, one)
				continue
			}
			require.GreaterOrEqual(t, answer.status, http.StatusBadRequest, one)
			require.Less(t, answer.status, http.StatusInternalServerError, one)
			require.Contains(t, answer.body, one.says, one)
		}
	})
}
