package date_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/daymill/daymill/internal/date"
)

func TestDate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		days := rapid.IntRange(-700_000, 2_900_000).Draw(t, "days") // from the year 54 to 9910
		want := time.Unix(0, 0).UTC().AddDate(0, 0, days)
		d := date.New(1970, time.January, 1).AddDays(days)
		require.Equal(t, want.Format(time.DateOnly), d.String())
		require.Equal(t, want.Weekday(), d.Weekday())
		require.Equal(t, d, date.Of(want.Add(23*time.Hour), time.UTC))

		parsed, err := date.Parse(d.String())
		require.NoError(t, err)
		require.Equal(t, d, parsed)

		value, err := d.DateValue()
		require.NoError(t, err)
		var scanned date.Date
		require.NoError(t, scanned.ScanDate(value))
		require.Equal(t, d, scanned)

		text, err := json.Marshal(map[string]date.Date{"date": d})
		require.NoError(t, err)
		require.JSONEq(t, `{"date":"`+d.String()+`"}`, string(text))
	})
}

func TestParseRange(t *testing.T) {
	t.Parallel()
	r, err := date.ParseRange("2026-02-27..2026-03-02")
	require.NoError(t, err)
	require.Equal(t, 4, r.Len())
	require.Equal(t, "2026-02-27..2026-03-02", r.String())
	one, err := date.ParseRange("2024-02-29")
	require.NoError(t, err)
	require.Equal(t, 1, one.Len())
	require.Equal(t, "2024-02-29", one.String())
	_, err = date.ParseRange("2016-01-01..2026-01-07")
	require.NoError(t, err)

	for text, want := range map[string]string{
		"":                       `"" is not a date`,
		"1926-01-01..2026-01-01": "more than 3660 dates",
		"2026-02-30":             `"2026-02-30" is not a date`,
		"2026-03-02..2026-03-01": "reversed",
		"2026-03-02..":           `"" is not a date`,
		"2026-3-2":               "write it as 2026-03-01",
		"yesterday":              "write it as 2026-03-01",
	} {
		_, err := date.ParseRange(text)
		require.ErrorContains(t, err, want, text)
	}
}
