package event

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func (b *testBundle) importLog(t *testing.T, log pgtest.Log) Report {
	t.Helper()
	file, err := os.Open(log.Path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, file.Close()) })
	report, err := b.importer.Import(t.Context(), log.Path, file)
	require.NoError(t, err)
	require.Empty(t, b.bad)
	info, err := file.Stat()
	require.NoError(t, err)
	require.Equal(t, info.Size(), report.Stored)
	require.EqualValues(t, log.Events, report.Imported)
	return report
}

// requireDates compares the dates reported and requested with those of the rows.
func (b *testBundle) requireDates(t *testing.T, dates []date.Date) {
	t.Helper()
	text := make([]string, len(dates))
	for i, d := range dates {
		text[i] = d.String()
	}
	require.Equal(t, text, b.query(t, "SELECT DISTINCT analytics.date_of(created_at)::text AS d FROM analytics.events ORDER BY d"))
	require.Equal(t, text, b.query(t, "SELECT metric_date::text FROM analytics.rollup_requests ORDER BY id"))
}

func TestArticles(t *testing.T) {
	t.Parallel()
	for _, log := range pgtest.Articles(t) {
		for zone, dates := range log.Dates {
			b := setup(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: zone})
			b.importer.Options.Columns = Columns{Entity: "contentId", Type: "eventType", Time: "timestamp"}
			b.importer.Options.TypeMap = map[string]string{"VIEW": "view", "LIKE": "click", "BOOKMARK": "save"}
			b.importer.Options.TimeFormat = format(t, "epoch")
			report := b.importLog(t, log)
			require.Len(t, report.Dates, dates, zone)
			b.requireDates(t, report.Dates)
			require.Equal(t, log.Types,
				b.query(t, `SELECT concat_ws(' ', event_type, count(*)) FROM raw_events GROUP BY event_type ORDER BY event_type COLLATE "C"`))
			require.Equal(t, []string{strconv.Itoa(log.Entities)}, b.query(t, "SELECT count(DISTINCT entity_id)::text FROM raw_events"))
		}
	}
}

func TestSales(t *testing.T) {
	t.Parallel()
	london, err := time.LoadLocation("Europe/London")
	require.NoError(t, err)
	for _, log := range pgtest.Sales(t) {
		b := setup(t, pgtest.Installed{EntityType: entity.Text, TimeZone: "Europe/London"})
		b.importer.Options.Columns = Columns{Entity: "StockCode", Type: "Country", Time: "InvoiceDate"}
		b.importer.Options.TimeZone = london
		for range 2 {
			require.Len(t, b.importLog(t, log).Dates, log.Dates["Europe/London"])
		}
		require.Equal(t, []string{fmt.Sprintf("%d %d %d %s %s", 2*log.Events, log.Entities, pgtest.Countries, log.First, log.Last)},
			b.query(t, `SELECT concat_ws(' ', count(*), count(DISTINCT entity_id), count(DISTINCT event_type),
				min(created_at AT TIME ZONE 'Europe/London')::date, max(created_at AT TIME ZONE 'Europe/London')::date) FROM raw_events`))
	}
}
