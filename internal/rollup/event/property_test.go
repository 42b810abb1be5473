package event

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// word draws a text that can be stored unchanged: it has no surrounding space.
func word(t *rapid.T, label string) string {
	text := rapid.StringOfN(rapid.OneOf(
		rapid.Rune(), rapid.SampledFrom([]rune("ab\"',;\\{}[]: \t\n\réß\u2028\U0001F600")),
	), 1, 12, -1).Filter(func(s string) bool {
		return s == strings.TrimFunc(s, unicode.IsSpace) && !strings.ContainsRune(s, 0) && s != "" && !strings.ContainsRune(s, unicode.ReplacementChar)
	})
	return text.Draw(t, label)
}

// TestImportEqualsFile: CSV or NDJSON that the standard library has written is imported row for row, in chunks of any size, and exactly the dates
// of these rows are requested.
func TestImportEqualsFile(t *testing.T) {
	t.Parallel()
	b := setup(t, pgtest.Installed{EntityType: entity.Text, TimeZone: "America/Havana"})
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"entity_id", "event_type", "created_at"}
		rows := make([][]string, rapid.IntRange(1, 30).Draw(t, "rows"))
		for i := range rows {
			// Some years, with a summer time that begins and ends at midnight, to the microsecond, in any zone.
			at := time.UnixMicro(rapid.Int64Range(1_500_000_000_000_000, 1_760_000_000_000_000).Draw(t, "instant")).
				In(time.FixedZone("", rapid.IntRange(-14*4, 14*4).Draw(t, "offset")*900))
			rows[i] = []string{word(t, "entity"), word(t, "type"), at.Format(time.RFC3339Nano)}
		}
		var file bytes.Buffer
		name := rapid.SampledFrom([]string{"events.csv", "events.ndjson"}).Draw(t, "file")
		if name == "events.csv" {
			w := csv.NewWriter(&file)
			w.UseCRLF = rapid.Bool().Draw(t, "CRLF")
			// A line break within quotes is read as one character, but package csv can write two.
			lineEnds := strings.NewReplacer("\r\n", "_")
			if w.UseCRLF {
				lineEnds = strings.NewReplacer("\n", "_", "\r", "_")
			}
			for _, row := range rows {
				row[0], row[1] = lineEnds.Replace(row[0]), lineEnds.Replace(row[1])
			}
			require.NoError(t, w.WriteAll(append([][]string{names}, rows...)))
		} else {
			encoder := json.NewEncoder(&file)
			encoder.SetEscapeHTML(rapid.Bool().Draw(t, "escape"))
			for _, row := range rows {
				require.NoError(t, encoder.Encode(map[string]string{names[0]: row[0], names[1]: row[1], names[2]: row[2], "more": row[0]}))
			}
		}
		_, err := b.db.Exec(ctx, "TRUNCATE public.raw_events, analytics.rollup_requests")
		require.NoError(t, err)
		b.importer.Chunk = rapid.IntRange(1, 40).Draw(t, "chunk")
		report, err := b.importer.Import(ctx, name, &file)
		require.NoError(t, err)
		require.EqualValues(t, len(rows), report.Imported)

		var want, got, requested, dates []string
		for _, row := range rows {
			at, err := time.Parse(time.RFC3339Nano, row[2])
			require.NoError(t, err)
			want = append(want, fmt.Sprintf("%q %q %d", row[0], row[1], at.UnixMicro()))
		}
		slices.Sort(want)
		type stored struct {
			entity, kind string
			at           time.Time
		}
		table, err := b.db.Query(ctx, "SELECT entity_id, event_type, created_at FROM public.raw_events")
		require.NoError(t, err)
		for table.Next() {
			var s stored
			require.NoError(t, table.Scan(&s.entity, &s.kind, &s.at))
			got = append(got, fmt.Sprintf("%q %q %d", s.entity, s.kind, s.at.UnixMicro()))
		}
		require.NoError(t, table.Err())
		slices.Sort(got)
		require.Equal(t, want, got)
		err = b.db.QueryRow(ctx, `SELECT
			(SELECT array_agg(DISTINCT analytics.date_of(created_at)::text) FROM public.raw_events),
			(SELECT array_agg(metric_date::text ORDER BY metric_date) FROM analytics.rollup_requests)`).Scan(&dates, &requested)
		require.NoError(t, err)
		require.Equal(t, dates, requested)
	})
}
