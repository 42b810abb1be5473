package entity

import (
	"encoding/csv"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/metric"
	"github.com/daymill/daymill/internal/text"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// csvFlush is how many rows are sent at a time.
const csvFlush = 500

// WriteCSV streams an entity's metrics of a range as CSV.
func WriteCSV(w http.ResponseWriter, r *http.Request, s *page.Site, id string, dates date.Range) error {
	shown := id
	if s.Installation.EntityType == entity.Text {
		shown = unarmed(id)
	}
	out := csv.NewWriter(w)
	begin := func() error {
		header := w.Header()
		header.Set("Content-Type", "text/csv; charset=utf-8; header=present")
		header.Set("Content-Disposition", `attachment; filename="`+csvName(id, dates)+`"`)
		header.Set("Cache-Control", "no-store")
		return out.Write([]string{
			"metric_date", "entity_id", "views_count", "clicks_count", "saves_count", "skips_count", "other_counts",
		})
	}
	rows := 0
	err := metric.Each(r.Context(), s.DB, id, dates, func(day metric.Day) error {
		if rows == 0 {
			if err := begin(); err != nil {
				return err
			}
		}
		if rows++; rows%csvFlush == 0 {
			out.Flush()
		}
		other := "{}"
		if len(day.Other) > 0 {
			var err error
			if other, err = text.Encode(day.Other); err != nil {
				return err
			}
		}
		return out.Write([]string{
			day.Date.String(), shown, count(day.Views), count(day.Clicks), count(day.Saves), count(day.Skips), other,
		})
	})
	switch {
	case err != nil && rows == 0:
		return err
	case err != nil:
		// Break the connection: a partial file that looks complete would be worse than none.
		s.Logger.ErrorContext(r.Context(), "download interrupted", slog.String("error", err.Error()))
		panic(http.ErrAbortHandler)
	case rows == 0:
		if err := begin(); err != nil {
			return err
		}
	}
	out.Flush()
	return nil
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

// unarmed keeps a spreadsheet from reading text as a formula. It covers characters that start formulas, their full-width forms, and leading spaces,
// which some programs drop.
func unarmed(value string) string {
	first, _ := utf8.DecodeRuneInString(strings.TrimLeftFunc(value, unicode.IsSpace))
	control, _ := utf8.DecodeRuneInString(value)
	if value != "" && (strings.ContainsRune("=+-@＝＋－＠", first) || strings.ContainsRune("\t\r\n", control)) {
		return "'" + value
	}
	return value
}

// csvName returns a file name that is valid on every system. It keeps only safe characters of the id.
func csvName(id string, dates date.Range) string {
	const most = 40
	var safe strings.Builder
	for _, c := range format.Shortened(id, most) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
			safe.WriteRune(c)
		default:
			safe.WriteByte('_')
		}
	}
	return "daymill-" + safe.String() + "-" + dates.First.String() + "-" + dates.Last.String() + ".csv"
}
