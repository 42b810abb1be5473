package worker_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/worker"
)

// TestLateSink: each change requests the past dates that it has touched, or all dates if these are not known.
func TestLateSink(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	b.db.Do(t, "INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id) VALUES ('2026-02-01', 'complete', 1, 1), ('2026-01-31', 'complete', 2, 2)")
	const march1, march2 = `{"id": 1, "who": 7, "at": "2026-03-01T12:00:00+00:00", "note": "a"}`, `{"id": 1, "who": 7, "at": "2026-03-02T12:00:00+00:00", "note": "b"}`
	const noted, other = `{"id": 1, "who": 7, "at": "2026-03-01T12:00:00+00:00", "note": "b"}`, `{"id": 1, "who": 8, "at": "2026-03-01T12:00:00+00:00", "note": "a"}`
	for name, test := range map[string]struct {
		op       change.Op
		old, new string
		want     string
		gap      string // of a table
	}{
		"Delete":        {change.Delete, march1, "", "2026-03-01", ""},
		"DeleteOfKey":   {change.Delete, `{"id": 1}`, "", "2026-01-31 2026-02-01", ""},
		"Entity":        {change.Update, march1, other, "2026-03-01", ""},
		"Gap":           {change.Insert, "", march1, "2026-01-31 2026-02-01 2026-03-01", "public.e"},
		"GapOfAnother":  {change.Insert, "", march1, "2026-03-01", "public.other"},
		"Infinity":      {change.Insert, "", `{"at": "infinity"}`, "", ""},
		"Insert":        {change.Insert, "", march1, "2026-03-01", ""},
		"Moved":         {change.Update, march1, march2, "2026-03-01 2026-03-02", ""},
		"NoInstant":     {change.Insert, "", `{"at": null}`, "", ""},
		"Note":          {change.Update, march1, noted, "", ""},
		"Today":         {change.Insert, "", `{"at": "2999-01-01T00:00:00+00:00"}`, "", ""},
		"Truncate":      {change.Truncate, "", "", "2026-01-31 2026-02-01", ""},
		"UpdateOfNoOld": {change.Update, "", march1, "2026-01-31 2026-02-01 2026-03-01", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			of := consumer.Consumer{
				Name: "late-" + strings.ToLower(name), Stream: name, Kind: worker.KindRollup,
				Settings: json.RawMessage(`{"table": "public.e", "time": "at", "counted": ["who", "who"]}`),
			}
			s, err := worker.OpenLate(of)
			require.NoError(t, err)
			tx, err := b.db.DB.Begin(t.Context())
			require.NoError(t, err)
			defer tx.Rollback(t.Context()) //nolint:errcheck // The test rolls it back.
			_, err = tx.Exec(t.Context(), `WITH s AS (INSERT INTO capture.stream (name) VALUES ($1) RETURNING id)
				INSERT INTO capture.gap (stream_id, kind, reason, after, tables) SELECT id, 'slot', '', 0, $2 FROM s`, of.Stream, []string{test.gap})
			require.NoError(t, err)
			require.NoError(t, consumer.Create(t.Context(), tx, of, 0, audit.Who{Via: audit.ViaCLI}))
			for range 2 { // One request per transaction, however many changes.
				_, err = s.DeliverTx(t.Context(), tx, []change.Change{{Op: test.op, Old: json.RawMessage(test.old), New: json.RawMessage(test.new)}})
				require.NoError(t, err)
			}
			var got string
			require.NoError(t, tx.QueryRow(t.Context(), `SELECT coalesce(string_agg(metric_date::text, ' ' ORDER BY metric_date), '')
				FROM analytics.rollup_requests WHERE requested_via = 'watch'`).Scan(&got))
			require.Equal(t, test.want, got)
		})
	}
}

// TestLateGaps: after a gap all dates are requested, also if no later change shows the gap.
func TestLateGaps(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	b.db.Do(t, `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id) VALUES ('2026-02-01', 'complete', 1, 1);
		INSERT INTO capture.stream (name) VALUES ('app');
		INSERT INTO capture.gap (stream_id, kind, reason, after, tables) SELECT id, 'slot', '', 0, '{public.other}' FROM capture.stream;
		INSERT INTO capture.consumer (name, stream, kind, settings) VALUES ('late', 'app', 'rollup', '{"table": "public.e"}')`)
	b.start(t)
	b.db.Do(t, "INSERT INTO capture.gap (stream_id, kind, reason, after, tables) SELECT id, 'slot', '', 0, '{public.e}' FROM capture.stream")
	b.db.Wait(t, "EXISTS (SELECT FROM analytics.rollup_requests WHERE requested_via = 'watch' AND metric_date = '2026-02-01')")
	b.db.Wait(t, "(SELECT settings ->> 'gap' = '2' FROM capture.consumer)")
}
