package event

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func (b *testBundle) importShared(t *testing.T, name string) Report {
	t.Helper()
	file, err := os.Open(filepath.Join(pgtest.Shared(t), name))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, file.Close()) })
	report, err := b.importer.Import(t.Context(), name, file)
	require.NoError(t, err)
	require.Empty(t, b.bad)
	info, err := file.Stat()
	require.NoError(t, err)
	require.Equal(t, info.Size(), report.Stored)
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

func TestDeskdrop(t *testing.T) {
	t.Parallel()
	pgtest.Shared(t)
	for zone, dates := range map[string]int{"UTC": 342, "America/Sao_Paulo": 341} {
		b := setup(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: zone})
		b.importer.Options.Columns = Columns{Entity: "contentId", Type: "eventType", Time: "timestamp"}
		b.importer.Options.TypeMap = map[string]string{"VIEW": "view", "LIKE": "click", "BOOKMARK": "save"}
		b.importer.Options.TimeFormat = format(t, "epoch")
		report := b.importShared(t, "deskdrop.csv.zst")
		require.EqualValues(t, 72_312, report.Imported)
		require.Len(t, report.Dates, dates)
		b.requireDates(t, report.Dates)
		require.Equal(t, []string{"COMMENT CREATED 1611", "FOLLOW 1407", "click 5745", "save 2463", "view 61086"},
			b.query(t, `SELECT concat_ws(' ', event_type, count(*)) FROM public.raw_events GROUP BY event_type ORDER BY event_type COLLATE "C"`))
		require.Equal(t, []string{"2987"}, b.query(t, "SELECT count(DISTINCT entity_id)::text FROM public.raw_events"))
	}
}

func TestOnlineRetail(t *testing.T) {
	t.Parallel()
	pgtest.Shared(t)
	london, err := time.LoadLocation("Europe/London")
	require.NoError(t, err)
	b := setup(t, pgtest.Installed{EntityType: entity.Text, TimeZone: "Europe/London"})
	b.importer.Options.Columns = Columns{Entity: "StockCode", Type: "Country", Time: "InvoiceDate"}
	b.importer.Options.TimeZone = london
	for range 2 {
		report := b.importShared(t, "online_retail.csv.zst")
		require.EqualValues(t, 541_909, report.Imported)
		require.Len(t, report.Dates, 305)
	}
	require.Equal(t, []string{"1083818 38 2010-12-01 08:26:00 2011-12-09 12:50:00"}, b.query(t, `SELECT concat_ws(' ', count(*),
		count(DISTINCT event_type), min(created_at AT TIME ZONE 'Europe/London'), max(created_at AT TIME ZONE 'Europe/London'))
		FROM public.raw_events`))
}
