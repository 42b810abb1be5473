package event

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

type testBundle struct {
	db       *pgtest.DB
	importer *Importer
	bad      []string // what Bad was called with
}

// setup returns an importer into public.raw_events of a new database.
func setup(t *testing.T, installed pgtest.Installed) *testBundle {
	t.Helper()
	db := pgtest.Database(t, installed)
	db.RawEvents(t)
	b := &testBundle{db: db}
	options := textOptions(t)
	options.EntityType = installed.EntityType
	b.importer = &Importer{
		DB: db.DB,
		Target: Target{
			Table: pgx.Identifier{"public", "raw_events"}, EntityColumn: "entity_id", TypeColumn: "event_type",
			TimeColumn: "created_at",
		},
		Options: options,
		Bad:     func(bad *RowError) { b.bad = append(b.bad, bad.Error()) },
	}
	return b
}

func (b *testBundle) run(t *testing.T, text string) (Report, error) {
	t.Helper()
	return b.importer.Import(t.Context(), "", strings.NewReader(text))
}

// query returns the lines of a query of one text column.
func (b *testBundle) query(t *testing.T, sql string) []string {
	t.Helper()
	rows, err := b.db.Query(t.Context(), sql)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return lines
}

// events returns the rows of the table in the order of insertion.
func (b *testBundle) events(t *testing.T) []string {
	t.Helper()
	return b.query(t, `SELECT concat_ws(' ', entity_id, event_type, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'))
		FROM public.raw_events ORDER BY id`)
}

// requests returns the requested dates, in order.
func (b *testBundle) requests(t *testing.T) []string {
	t.Helper()
	return b.query(t, `SELECT concat_ws(' ', metric_date, requested_via, priority) FROM analytics.rollup_requests ORDER BY id`)
}

func (b *testBundle) requireNothing(t *testing.T) {
	t.Helper()
	require.Empty(t, b.events(t))
	require.Empty(t, b.requests(t))
}

var textInUTC = pgtest.Installed{EntityType: entity.Text, TimeZone: "UTC"}

const (
	goodRow = "a,view,2026-03-01T00:00:00Z\n"
	badRow  = "b,view,yesterday\n"
)

func TestImporter(t *testing.T) {
	t.Parallel()

	t.Run("BadRowAtTheEnd", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		b.importer.Chunk = 10
		report, err := b.run(t, header+strings.Repeat(goodRow, 25)+badRow)
		require.ErrorIs(t, err, ErrBadRows)
		require.EqualError(t, err, "too many bad rows: 1 of the first 26, and at most 0 are allowed")
		require.EqualValues(t, 26, report.Rows)
		require.Len(t, b.bad, 1)
		require.Contains(t, b.bad[0], `line 27: the time "yesterday" does not have the format`)
		b.requireNothing(t)
	})

	t.Run("BadRowEndsTheReading", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		report, err := b.run(t, header+badRow+strings.Repeat(goodRow, 25))
		require.ErrorIs(t, err, ErrBadRows)
		require.EqualValues(t, 1, report.Rows)
	})

	t.Run("BadRowsLeftOut", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		b.importer.MaxErrors, b.importer.Chunk = 30, 7
		report, err := b.run(t, header+strings.Repeat(goodRow+badRow, 30))
		require.NoError(t, err)
		require.EqualValues(t, 60, report.Rows)
		require.EqualValues(t, 30, report.Imported)
		require.EqualValues(t, 30, report.Bad)
		require.Len(t, b.events(t), 30)
		require.Len(t, b.bad, mostShown)
		for i, bad := range b.bad {
			require.Contains(t, bad, fmt.Sprintf("line %d: ", 3+2*i))
		}

		_, err = b.run(t, header+strings.Repeat(goodRow+badRow, 31))
		require.ErrorIs(t, err, ErrBadRows)
		require.Len(t, b.events(t), 30)
	})

	t.Run("ChunkSizes", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		var text strings.Builder
		text.WriteString(header)
		want := make([]string, 0, 10)
		for i := range 10 {
			fmt.Fprintf(&text, "e%d,view,2026-03-%02dT00:00:00Z\n", i, 1+i)
			want = append(want, fmt.Sprintf("e%d view 2026-03-%02d 00:00:00.000000", i, 1+i))
		}
		for _, chunk := range []int{0, 1, 3, 5, 9, 10, 11} {
			b.importer.Chunk = chunk
			var seen []int64
			b.importer.Observe = func(p Progress) { seen = append(seen, p.Rows) }
			report, err := b.run(t, text.String())
			require.NoError(t, err)
			require.EqualValues(t, 10, report.Imported)
			require.EqualValues(t, text.Len(), report.Stored)
			require.Len(t, report.Dates, 10)
			require.IsNonDecreasing(t, seen)
			require.EqualValues(t, 10, seen[len(seen)-1])
			require.Equal(t, want, b.events(t))
			_, err = b.db.Exec(t.Context(), "TRUNCATE public.raw_events")
			require.NoError(t, err)
		}
	})

	t.Run("DryRun", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		b.importer.DryRun, b.importer.MaxErrors = true, 1
		report, err := b.run(t, header+goodRow+badRow)
		require.NoError(t, err)
		require.EqualValues(t, 1, report.Imported)
		require.Equal(t, []date.Date{date.MustParse("2026-03-01")}, report.Dates)

		report, err = b.run(t, header+badRow+goodRow+badRow+goodRow)
		require.ErrorIs(t, err, ErrBadRows)
		require.EqualValues(t, 4, report.Rows, "all rows are looked at")
		b.requireNothing(t)
	})

	t.Run("Empty", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		report, err := b.run(t, header)
		require.NoError(t, err)
		require.Equal(t, Progress{Stored: int64(len(header))}, report.Progress)
		require.Empty(t, report.Dates)
		b.requireNothing(t)

		_, err = b.run(t, "")
		var blamed *InputError
		require.ErrorAs(t, err, &blamed)
	})

	t.Run("FutureDates", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		_, err := b.run(t, header+"a,view,2199-12-31T00:00:00Z\na,view,1970-01-01T00:00:00Z\n")
		require.NoError(t, err)
		require.Equal(t, []string{"1970-01-01 import 1", "2199-12-31 import 1"}, b.requests(t))
	})

	t.Run("Interrupted", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		b.importer.Chunk = 10
		ctx, cancel := context.WithCancel(t.Context())
		b.importer.Observe = func(p Progress) {
			if p.Rows == 100 {
				cancel()
			}
		}
		_, err := b.importer.Import(ctx, "", &endless{text: header + strings.Repeat("a,view,2026-03-01T00:00:00Z\n", 1000)})
		require.ErrorIs(t, err, context.Canceled)
		b.requireNothing(t)
	})

	t.Run("InterruptedWhileThePipeIsSilent", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		ctx, cancel := context.WithCancel(t.Context())
		silent, writer := io.Pipe()
		t.Cleanup(func() { _ = writer.Close() })
		go func() {
			_, _ = io.WriteString(writer, header+goodRow) // It returns once all of it is read.
			cancel()
		}()
		_, err := b.importer.Import(ctx, "", silent)
		require.ErrorIs(t, err, context.Canceled)
		b.requireNothing(t)
	})

	t.Run("KeepsTheTransaction", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		b.importer.keepAlive = time.Millisecond
		slow, writer := io.Pipe()
		go func() {
			_, _ = io.WriteString(writer, header+goodRow)
			for kept := false; !kept; {
				err := b.db.QueryRow(t.Context(), `SELECT EXISTS(SELECT FROM pg_stat_activity
					WHERE datname = current_database() AND state = 'idle in transaction' AND query = 'SELECT 1')`).Scan(&kept)
				if err != nil {
					_ = writer.CloseWithError(err)
					return
				}
			}
			_, _ = io.WriteString(writer, goodRow)
			_ = writer.Close()
		}()
		report, err := b.importer.Import(t.Context(), "", slow)
		require.NoError(t, err)
		require.EqualValues(t, 2, report.Imported)
	})

	t.Run("Requests", func(t *testing.T) {
		t.Parallel()
		b := setup(t, pgtest.Installed{EntityType: entity.Text, TimeZone: "America/Sao_Paulo"})
		_, err := b.run(t, header+"a,view,2026-03-02T02:59:59.999999Z\na,view,2026-02-01T12:00:00Z\na,view,2026-02-01T13:00:00Z\n")
		require.NoError(t, err)
		require.Equal(t, []string{"2026-02-01 import 1", "2026-03-01 import 1"}, b.requests(t))
	})

	t.Run("SameFileTwice", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		for range 2 {
			_, err := b.run(t, header+goodRow)
			require.NoError(t, err)
		}
		require.Len(t, b.events(t), 2)
		require.Equal(t, []string{"2026-03-01 import 1", "2026-03-01 import 1"}, b.requests(t))
	})

	t.Run("UnreadableAtTheEnd", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		b.importer.Chunk = 100
		text := gzipped(t, header+strings.Repeat(goodRow, 100_000))
		_, err := b.run(t, text[:len(text)-9])
		require.EqualError(t, err, "the compressed file is truncated")
		b.requireNothing(t)
	})
}
