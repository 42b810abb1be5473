package pgtest_test

import (
	"encoding/csv"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

// readLog returns the rows below the header.
func readLog(t *testing.T, path string) [][]string {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	plain, err := zstd.NewReader(file)
	require.NoError(t, err)
	defer plain.Close()
	rows, err := csv.NewReader(plain).ReadAll()
	require.NoError(t, err)
	return rows[1:]
}

// distinct counts the rows by the value of a function.
func distinct(rows [][]string, of func(row []string) string) map[string]int {
	counts := map[string]int{}
	for _, row := range rows {
		counts[of(row)]++
	}
	return counts
}

// TestArticles: the totals that tests compare with equal a plain count in Go.
func TestArticles(t *testing.T) {
	t.Parallel()
	imported := strings.NewReplacer("VIEW", "view", "LIKE", "click", "BOOKMARK", "save")
	instant := func(t *testing.T, row []string) time.Time {
		t.Helper()
		seconds, err := strconv.ParseInt(row[0], 10, 64)
		require.NoError(t, err)
		return time.Unix(seconds, 0)
	}
	for _, log := range pgtest.Articles(t) {
		rows := readLog(t, log.Path)
		require.Len(t, rows, log.Events, log.Name)
		require.Len(t, distinct(rows, func(row []string) string { return row[2] }), log.Entities, log.Name)
		var types []string
		for name, count := range distinct(rows, func(row []string) string { return imported.Replace(row[1]) }) {
			types = append(types, fmt.Sprintf("%s %d", name, count))
		}
		slices.Sort(types)
		require.Equal(t, log.Types, types, log.Name)
		for zone, dates := range log.Dates {
			location, err := time.LoadLocation(zone)
			require.NoError(t, err)
			date := func(row []string) string { return instant(t, row).In(location).Format(time.DateOnly) }
			perDate := distinct(rows, date)
			require.Len(t, perDate, dates, log.Name)
			require.Len(t, distinct(rows, func(row []string) string { return date(row) + " " + row[2] }), log.Rows[zone], log.Name)
			if zone == "America/Sao_Paulo" {
				require.Positive(t, perDate["2016-10-16"], "a date that begins at 01:00")
				require.Positive(t, perDate["2017-02-18"], "a date of 25 hours")
			}
		}
	}
}

func TestSales(t *testing.T) {
	t.Parallel()
	for _, log := range pgtest.Sales(t) {
		rows := readLog(t, log.Path)
		require.Len(t, rows, log.Events, log.Name)
		require.Len(t, distinct(rows, func(row []string) string { return row[2] }), log.Entities, log.Name)
		require.Len(t, distinct(rows, func(row []string) string { return row[5] }), pgtest.Countries, log.Name)
		require.Len(t, distinct(rows, func(row []string) string { return row[0][:10] }), log.Dates["Europe/London"], log.Name)
	}
}
