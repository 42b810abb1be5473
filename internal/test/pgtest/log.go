package pgtest

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// Log is a file of events and its known totals. The logs that are made here are the same on every
// machine, byte for byte.
type Log struct {
	Name, Path string

	Events, Entities int
	Types            []string       // "type count" as they are imported, by name in order of "C"
	Dates, Rows      map[string]int // dates that have events, and pairs of date and entity, by reporting zone
	First, Last      string         // dates in the first zone that the tests use
}

// Made is the name of logs that are generated.
const Made = "Made"

// Articles returns logs of a site where people read, like and bookmark: entities are 64-bit integers, many of them negative, instants are seconds
// since 1970 in no order. One log is generated. If ../shared/data exists beside the repository, there is also a real one. São Paulo's clocks
// changed at midnight twice in the time that they cover.
func Articles(tb testing.TB) []Log {
	tb.Helper()
	made := Log{
		Name: Made, Path: writeLog(tb, "articles.csv.zst", articles()), Events: 24_000, Entities: 867,
		Types: []string{"COMMENT CREATED 479", "FOLLOW 508", "click 1925", "save 987", "view 20101"},
		Dates: map[string]int{"America/Sao_Paulo": 340, "UTC": 328},
		Rows:  map[string]int{"America/Sao_Paulo": 22_191, "UTC": 22_191},
		First: "2016-03-14", Last: "2017-02-28",
	}
	return append([]Log{made}, onDisk(tb, Log{
		Name: "Deskdrop", Path: "deskdrop.csv.zst", Events: 72_312, Entities: 2_987,
		Types: []string{"COMMENT CREATED 1611", "FOLLOW 1407", "click 5745", "save 2463", "view 61086"},
		Dates: map[string]int{"America/Sao_Paulo": 341, "UTC": 342},
		Rows:  map[string]int{"America/Sao_Paulo": 14_633, "UTC": 14_607},
		First: "2016-03-14", Last: "2017-02-28",
	})...)
}

// Sales returns logs of a shop: entities are text, every country is a separate type, and instants are local times of London without a zone. One
// log is generated. If ../shared/data exists beside the repository, there is also a real one.
func Sales(tb testing.TB) []Log {
	tb.Helper()
	made := Log{
		Name: Made, Path: writeLog(tb, "sales.csv.zst", sales()), Events: 40_000, Entities: 1_165,
		Dates: map[string]int{"Europe/London": 314}, First: "2010-12-01", Last: "2011-12-09",
	}
	return append([]Log{made}, onDisk(tb, Log{
		Name: "OnlineRetail", Path: "online_retail.csv.zst", Events: 541_909, Entities: 4_070,
		Dates: map[string]int{"Europe/London": 305}, First: "2010-12-01", Last: "2011-12-09",
	})...)
}

// ArticlesImport are the options with which articles are imported.
func ArticlesImport() []string {
	return []string{
		"--entity", "contentId", "--type", "eventType", "--time", "timestamp", "--time-format", "epoch",
		"--map", "VIEW=view,LIKE=click,BOOKMARK=save",
	}
}

// SalesImport are the options with which sales are imported.
func SalesImport() []string {
	return []string{
		"--entity", "StockCode", "--type", "Country", "--time", "InvoiceDate", "--time-format", "datetime",
		"--time-zone", "Europe/London",
	}
}

// Countries is the number of countries in the logs of sales.
const Countries = 38

// onDisk returns a log in ../shared/data, or none if it is not there.
func onDisk(tb testing.TB, log Log) []Log {
	tb.Helper()
	log.Path = filepath.Join(filepath.Dir(Root(tb)), "shared", "data", log.Path)
	if _, err := os.Stat(log.Path); err != nil {
		return nil
	}
	return []Log{log}
}

// articles makes 24,000 rows from noon of 2016-03-14 to the evening of 2017-02-28. Nothing happens on two days
// of thirty. Every half hour around the two midnights that São Paulo's clocks skipped or passed twice has an event.
func articles() [][]string {
	const count, contents = 24_000, 900
	random := rand.New(rand.NewPCG(10, 6))
	ids := make([]string, contents)
	for i := range ids {
		ids[i] = strconv.FormatInt(int64(random.Uint64()), 10) //nolint:gosec // Half of them should be negative.
	}
	first := time.Date(2016, time.March, 14, 12, 0, 0, 0, time.UTC).Unix()
	seconds := time.Date(2017, time.February, 28, 20, 0, 0, 0, time.UTC).Unix() - first

	var changes []int64
	for _, midnight := range []time.Time{
		time.Date(2016, time.October, 16, 3, 0, 0, 0, time.UTC), time.Date(2017, time.February, 19, 2, 0, 0, 0, time.UTC),
	} {
		for half := -6; half <= 6; half++ {
			changes = append(changes, midnight.Add(time.Duration(half)*30*time.Minute).Unix())
		}
	}
	types := []string{"VIEW", "LIKE", "BOOKMARK", "COMMENT CREATED", "FOLLOW"}
	shares := []int{100, 16, 8, 4, 2} // A type is chosen if a number below 100 is less than its share, but not less than the next one's.

	rows := [][]string{{"timestamp", "eventType", "contentId", "personId"}}
	for len(rows) <= count {
		at := first + random.Int64N(seconds)
		if n := len(rows) - 1; n%500 == 0 && n/500 < len(changes) {
			at = changes[n/500]
		} else if at/86_400%30 >= 28 {
			continue
		}
		kind, share := types[0], random.IntN(100)
		for i, t := range types {
			if share < shares[i] {
				kind = t
			}
		}
		rows = append(rows, []string{
			strconv.FormatInt(at, 10), kind, ids[popular(random, contents)], strconv.FormatInt(-1-random.Int64N(1<<62), 10),
		})
	}
	return rows
}

// sales makes 40,000 rows from 2010-12-01 to 2011-12-09, between eight and eight o'clock. The shop is closed on Saturdays
// and at the end of December.
func sales() [][]string {
	const count, codes = 40_000, 1_200
	random := rand.New(rand.NewPCG(38, 14))
	stock := make([]string, codes)
	for i := range stock {
		// Neighbours differ in case, in a letter, and in characters that collations other than "C" ignore.
		stock[i] = fmt.Sprintf([]string{"%dA", "%da", "gift_%d_20", "POST-%d", "é%d", "С%d", " %d.", "#%d"}[i%8], 10_000+i/2)
	}
	countries := []string{"United Kingdom", "EIRE", "Côte d'Ivoire", `Channel "Islands"`, "Korea, South", "Unspecified"}
	for n := len(countries); n < Countries; n++ {
		countries = append(countries, fmt.Sprintf("Country %d", n))
	}
	opens := time.Date(2010, time.December, 1, 8, 0, 0, 0, time.UTC) // London's wall-clock time.

	rows := [][]string{{"InvoiceDate", "InvoiceNo", "StockCode", "Quantity", "CustomerID", "Country"}}
	for len(rows) <= count {
		at := opens.AddDate(0, 0, random.IntN(374)).Add(time.Duration(random.IntN(12*60)) * time.Minute)
		if at.Weekday() == time.Saturday || at.Month() == time.December && at.Day() > 23 {
			continue
		}
		country := countries[0]
		if random.IntN(8) == 0 {
			country = countries[random.IntN(len(countries))]
		}
		rows = append(rows, []string{
			at.Format(time.DateTime), strconv.Itoa(536_365 + len(rows)/20), stock[popular(random, codes)],
			strconv.Itoa(random.IntN(20) - 2), buyer(len(rows) / 20), country,
		})
	}
	return rows
}

// buyer returns the customer of an invoice; empty for every fourth one.
func buyer(invoice int) string {
	if invoice%4 == 0 {
		return ""
	}
	return strconv.Itoa(12_346 + invoice%271)
}

// popular returns a number below count: the lower, the more often.
func popular(random *rand.Rand, count int) int {
	return random.IntN(1 + random.IntN(count))
}

// writeLog writes rows as compressed CSV, and returns the file's path.
func writeLog(tb testing.TB, name string, rows [][]string) string {
	tb.Helper()
	var content bytes.Buffer
	compressed, err := zstd.NewWriter(&content)
	require.NoError(tb, err)
	require.NoError(tb, csv.NewWriter(compressed).WriteAll(rows))
	require.NoError(tb, compressed.Close())
	path := filepath.Join(tb.TempDir(), name)
	require.NoError(tb, os.WriteFile(path, content.Bytes(), 0o600))
	return path
}

// Root returns the repository's directory.
func Root(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	require.NoError(tb, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		require.NotEqual(tb, filepath.Dir(dir), dir, "no go.mod above the working directory")
		dir = filepath.Dir(dir)
	}
}
