package event

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReaderCSV(t *testing.T) {
	t.Parallel()

	const at, written = "2026-03-01T00:00:00Z", ",view,2026-03-01T00:00:00Z\n"
	for _, test := range []struct {
		name    string
		options func(o *Options)
		text    string
		want    []string
	}{
		{
			"BadQuoteInOneLine", nil,
			header + "a" + written + `b"` + written + `"c" c` + written + "d" + written,
			[]string{
				"2: a view " + at, "3: bad: there is a quote in a field that is not quoted",
				"4: bad: a quote inside a quoted field is not doubled, or not closed", "5: d view " + at,
			},
		},
		{
			"BadQuoteOverLines", nil, // b's quote is closed by e's, which would hide c and d
			header + "a" + written + `"b` + written + "c" + written + "d" + written + `"e"` + written + "f" + written,
			[]string{
				"2: a view " + at,
				"error: line 3: a quote inside a quoted field is not doubled, or not closed, and the row spans several " +
					"lines, so it may contain other rows",
			},
		},
		{
			"BlankLines", nil, header + "\na" + written + "\n\nb" + written,
			[]string{"3: a view " + at, "6: b view " + at},
		},
		{
			"ColumnMissing", nil, "entity,event_type,created_at\n",
			[]string{`error: there is no column "entity_id": choose one with --entity; the columns are entity, event_type, created_at`},
		},
		{
			"ColumnTwice", nil, "entity_id,event_type,event_type,created_at\n",
			[]string{`error: there are two columns "event_type": rename one`},
		},
		{
			"ColumnsInAnyOrder", func(o *Options) { o.Columns = Columns{Entity: "Item No", Type: "kind", Time: "at"} },
			"at,x,kind,Item No\n2026-03-01T00:00:00Z,,view,a\n",
			[]string{"2: a view " + at},
		},
		{
			"CRLF", nil, strings.ReplaceAll(header+"a"+written+"b"+written, "\n", "\r\n"),
			[]string{"2: a view " + at, "3: b view " + at},
		},
		{
			"Delimiter", func(o *Options) { o.Delimiter = ';' }, strings.ReplaceAll(header+"a"+written, ",", ";"),
			[]string{"2: a view " + at},
		},
		{"Empty", nil, "", []string{"error: the file is empty: the first line should name the columns"}},
		{
			"FieldCount", nil, header + "a,view\nb" + written + "c,view,2026-03-01T00:00:00Z,x\n",
			[]string{
				"2: bad: 2 fields where 3 are expected", "3: b view " + at,
				"4: bad: 4 fields where 3 are expected",
			},
		},
		{
			"FieldCountOverLines", nil, header + "a" + written + `b,"view,2026` + "\n" + `c","view",x,y` + "\n",
			[]string{
				"2: a view " + at, "error: line 3: 5 fields where 3 are expected, and the row spans several " +
					"lines, so it may contain other rows",
			},
		},
		{"HeaderOnly", nil, header, nil},
		{
			"HeaderTooLong", nil, `"` + strings.Repeat("x", 2*MaxRow),
			[]string{"error: the first line is longer than 1048576 bytes: it should name the columns"},
		},
		{
			"LineAfterQuotedLines", nil, header + "\"a\nb\nc\",\"vi\new\",2026-03-01T00:00:00Z\nd,view,soon\ne" + written,
			[]string{
				"2: a\nb\nc vi\new " + at,
				`6: bad: the time "soon" does not have the format iso (such as 2026-03-01T12:34:56Z or 2026-03-01 12:34:56)`,
				"7: e view " + at,
			},
		},
		{
			"Map", func(o *Options) { o.TypeMap = map[string]string{"VIEW": "view", "": "other"} },
			header + "a,VIEW,2026-03-01T00:00:00Z\na,,2026-03-01T00:00:00Z\na,LIKE,2026-03-01T00:00:00Z\n",
			[]string{"2: a view " + at, "3: a other " + at, "4: a LIKE " + at},
		},
		{
			"MapToNothing", func(o *Options) { o.TypeMap = map[string]string{"VIEW": ""} }, header,
			[]string{`error: the map of "VIEW": the event type is empty`},
		},
		{
			"Mark", nil, "\ufeff" + header + "a" + written, []string{"2: a view " + at},
		},
		{
			"NoHeader", func(o *Options) { o.NoHeader, o.Columns = true, Columns{Entity: "3", Type: "1", Time: "2"} },
			"view,2026-03-01T00:00:00Z,a\nview,2026-03-01T00:00:00Z,b\n",
			[]string{"1: a view " + at, "2: b view " + at},
		},
		{
			"NoHeaderByName", func(o *Options) { o.NoHeader = true }, "a" + written,
			[]string{`error: without a header, columns have numbers from 1: give --entity a number instead of "entity_id"`},
		},
		{
			"NoHeaderTooFew", func(o *Options) { o.NoHeader, o.Columns = true, Columns{Entity: "4", Type: "2", Time: "3"} },
			"a" + written,
			[]string{"1: bad: there is no column number 4, because the line has 3 columns"},
		},
		{
			"NoLastNewline", nil, header + strings.TrimSuffix("a"+written, "\n"), []string{"2: a view " + at},
		},
		{
			"HeaderNotText", func(o *Options) { o.Columns.Entity = "id\xff" }, "id\xff,event_type,created_at\na,view,2026-03-01T00:00:00Z\n",
			[]string{`error: line 1: the column name "id\xff" is not UTF-8`},
		},
		{
			"HeaderUnprintable", nil, "id\x1b[31m,event_type,,created_at\n",
			[]string{`error: there is no column "entity_id": choose one with --entity; the columns are "id\x1b[31m", event_type, "", created_at`},
		},
		{
			"QuoteNeverClosed", nil, header + "a" + written + `"b` + written + "c" + written,
			[]string{
				"2: a view " + at,
				"error: line 3: a quote inside a quoted field is not doubled, or not closed, and the row spans several " +
					"lines, so it may contain other rows",
			},
		},
		{
			"QuoteNeverClosedInALongFile", nil, header + "a" + written + `"b` + strings.Repeat("c"+written, 100_000),
			[]string{"2: a view " + at, "error: the row after line 2 is longer than 1048576 bytes: is a quote not closed?"},
		},
		{
			"TypeValue", func(o *Options) { o.TypeValue, o.Columns.Type = "sale", "" },
			"entity_id,created_at\na,2026-03-01T00:00:00Z\n",
			[]string{"2: a sale " + at},
		},
		{
			"Values", nil,
			header + written + "a,,2026-03-01T00:00:00Z\na\x00" + written + "a\xff" + written +
				strings.Repeat("é", 501) + written + "a,view,\n" + "a,v\xff,2026-03-01T00:00:00Z\n",
			[]string{
				"2: bad: the entity id is empty", "3: bad: the event type is empty",
				`4: bad: the entity id "a\x00" has a zero byte, which Postgres cannot store in a text`,
				`5: bad: the entity id "a\xff" is not UTF-8`,
				`6: bad: the entity id "` + strings.Repeat("é", 30) + `…" has 1002 bytes, and at most 1000 are allowed`,
				`7: bad: the time "" does not have the format iso (such as 2026-03-01T12:34:56Z or 2026-03-01 12:34:56)`,
				`8: bad: the event type "v\xff" is not UTF-8`,
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			options := textOptions(t)
			if test.options != nil {
				test.options(&options)
			}
			require.Equal(t, test.want, readAll("events.csv", test.text, options))
		})
	}
}
