package batch_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/rollup/batch"
	"github.com/daymill/daymill/internal/rollup/figure"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// The rows that are written, and the result of a comparison, depending on the stored and the counted rows.
func TestPublish(t *testing.T) {
	t.Parallel()
	type counts map[string]int64 // views by entity
	for name, test := range map[string]struct {
		stored, counted counts
		wrote           figure.Rows
		totals          batch.Totals
	}{
		"Changed":  {counts{"a": 1, "b": 2}, counts{"a": 1, "b": 3}, figure.Rows{Updated: 1}, batch.Totals{Events: 4, Entities: 2}},
		"Empty":    {nil, nil, figure.Rows{}, batch.Totals{}},
		"Everyone": {counts{"a": 1, "c": 3, "d": 4}, counts{"b": 2, "c": 5, "d": 4}, figure.Rows{Inserted: 1, Updated: 1, Deleted: 1}, batch.Totals{Events: 11, Entities: 3}},
		"Gone":     {counts{"a": 1, "b": 2}, nil, figure.Rows{Deleted: 2}, batch.Totals{}},
		"New":      {nil, counts{"a": 1, "b": 2}, figure.Rows{Inserted: 2}, batch.Totals{Events: 3, Entities: 2}},
		"Right":    {counts{"a": 1, "b": 2}, counts{"a": 1, "b": 2}, figure.Rows{}, batch.Totals{Events: 3, Entities: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := pgtest.Database(t, pgtest.Installed{EntityType: entity.Text, TimeZone: "UTC"})
			for id, views := range test.stored {
				_, err := conn.Exec(t.Context(), `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count)
					VALUES ($1, '2026-03-01', $2), ($1, '2026-03-02', 7)`, id, views)
				require.NoError(t, err)
			}
			session, err := conn.Session(t.Context())
			require.NoError(t, err)
			t.Cleanup(func() { session.Release(context.WithoutCancel(t.Context())) })
			reader := func() batch.Reader {
				return batch.Reader{
					Session: session, Type: entity.Text, Pacer: &pace.Pacer{Clock: pace.SystemClock{}}, Date: date.MustParse("2026-03-01"),
					Alive: func() error { return nil },
				}
			}
			rows := func() merge.Rows {
				table := merge.New(0)
				for id, views := range test.counted {
					require.NoError(t, table.Add([]byte(id), "view", views))
				}
				return table.Rows()
			}
			differences := func() (found int64) {
				r := reader()
				require.NoError(t, r.Compare(t.Context(), rows(), nil, nil, func(batch.Difference) { found++ }))
				require.Equal(t, test.totals, r.Totals)
				return found
			}
			require.Equal(t, test.wrote.Changed(), differences())

			advanced := 0
			publisher := &batch.Publisher{Reader: reader(), Advance: func(context.Context, *db.Queries, entity.ID, batch.Totals) error {
				advanced++
				return nil
			}}
			require.NoError(t, publisher.Publish(t.Context(), rows(), nil, nil))
			require.Equal(t, test.wrote, publisher.Rows)
			require.Equal(t, publisher.Batches, advanced, "a batch begins with the fence")
			require.Equal(t, test.wrote.Changed() > 0, advanced > 0, "what is right is not touched")
			require.Equal(t, test.totals, publisher.Totals)
			stored, err := publisher.Stored(t.Context())
			require.NoError(t, err)
			require.Equal(t, test.totals, stored)
			require.Zero(t, differences())

			var others int64
			require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM analytics.daily_entity_metrics WHERE metric_date = '2026-03-02' AND views_count = 7").Scan(&others))
			require.EqualValues(t, len(test.stored), others, "another date's rows stay")
		})
	}
}
