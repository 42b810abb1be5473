package event

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
)

func TestReaderNDJSON(t *testing.T) {
	t.Parallel()

	const at = "2026-03-01T00:00:00Z"
	object := func(id string) string {
		return `{"entity_id":` + id + `,"event_type":"view","created_at":"2026-03-01T00:00:00Z"}` + "\n"
	}
	for _, test := range []struct {
		name    string
		options func(o *Options)
		text    string
		want    []string
	}{
		{
			"BlankLines", nil, "\n" + object(`"a"`) + " \t\r\n\n" + object(`"b"`),
			[]string{"2: a view " + at, "5: b view " + at},
		},
		{
			"CaseOfNames", nil, `{"Entity_ID":"a","event_type":"view","created_at":"2026-03-01T00:00:00Z"}`,
			[]string{`1: bad: there is no field "entity_id"`},
		},
		{"Empty", nil, "", nil},
		{
			"DuplicateNames", nil, `{"entity_id":"a","entity\u005fid":"b","event_type":"view","created_at":"2026-03-01T00:00:00Z"}`,
			[]string{"1: b view " + at},
		},
		{
			"Epoch", func(o *Options) { o.TimeFormat = format(t, "epoch-ms") },
			`{"entity_id":"a","event_type":"view","created_at":1772323200123}`,
			[]string{"1: a view 2026-03-01T00:00:00.123Z"},
		},
		{
			"Escapes", nil, object(`"\u00e9\ud83d\ude00\n"`) + object(`"\ud83d"`) + object(`"\ufffd\u00e9"`) + object(`"\u0000"`) +
				object(`"\ufffd\ud83d\u0041"`) + object(`"\ufffd\ud83d\ude00"`),
			[]string{
				"1: é😀\n view " + at, `2: bad: the field "entity_id" has half of a surrogate pair`, "3: \ufffdé view " + at,
				`4: bad: the entity id "\x00" has a zero byte, which Postgres cannot store in a text`,
				`5: bad: the field "entity_id" has half of a surrogate pair`, "6: \ufffd😀 view " + at,
			},
		},
		{
			"FieldKinds", nil, object("null") + object("true") + object(`["a"]`) + object(`{"b":1}`) + object(`""`),
			[]string{
				`1: bad: the field "entity_id" is null`, `2: bad: the field "entity_id" is neither a string nor a number`,
				`3: bad: the field "entity_id" is neither a string nor a number`,
				`4: bad: the field "entity_id" is neither a string nor a number`, "5: bad: the entity id is empty",
			},
		},
		{
			"FieldMissing", nil, `{"entity_id":"a","created_at":"2026-03-01T00:00:00Z"}` + "\n" + object(`"b"`),
			[]string{`1: bad: there is no field "event_type"`, "2: b view " + at},
		},
		{
			"LineTooLong", nil, object(`"a"`) + `{"x":"` + strings.Repeat("x", 3*MaxRow) + "\"}\n" + object(`"b"`),
			[]string{"1: a view " + at, "2: bad: the line is longer than 1048576 bytes", "3: b view " + at},
		},
		{
			"Nested", func(o *Options) { o.Columns.Entity = "item.id" },
			`{"item":{"id":"a"},"event_type":"view","created_at":"2026-03-01T00:00:00Z"}
{"item.id":"b","item":{"id":"a"},"event_type":"view","created_at":"2026-03-01T00:00:00Z"}
{"item":"c","event_type":"view","created_at":"2026-03-01T00:00:00Z"}
{"item":{},"event_type":"view","created_at":"2026-03-01T00:00:00Z"}
`,
			[]string{
				"1: a view " + at, "2: b view " + at, `3: bad: there is no field "item.id"`, `4: bad: there is no field "item.id"`,
			},
		},
		{
			"NoLastNewline", nil, strings.TrimSuffix(object(`"a"`), "\n"), []string{"1: a view " + at},
		},
		{
			"NotAnObject", nil, "{\"entity_id\n[1]\nnull\n5\n" + object(`"a"`) + `{"a":1} {"b":2}` + "\n",
			[]string{
				"1: bad: the line is not JSON: unexpected end of JSON input", "2: bad: the line is JSON, but not an object",
				"3: bad: the line is JSON, but not an object", "4: bad: the line is JSON, but not an object",
				"5: a view " + at, "6: bad: the line is not JSON: invalid character '{' after top-level value",
			},
		},
		{
			"Numbers", func(o *Options) { o.EntityType = entity.Bigint },
			object("9223372036854775807") + object("9223372036854775808") + object("1e3") + object("1.0") + object(`"-5"`),
			[]string{
				"1: 9223372036854775807 view " + at,
				`2: bad: entity id "9223372036854775808" is not a whole number of 64 bits`,
				`3: bad: entity id "1e3" is not a whole number of 64 bits`, `4: bad: entity id "1.0" is not a whole number of 64 bits`,
				"5: -5 view " + at,
			},
		},
		{
			"NumbersAsText", nil, object("12345678901234567890.10"), []string{"1: 12345678901234567890.10 view " + at},
		},
		{
			"NotUTF8", nil, object("\"a\xff\"") + object(`"b"`), []string{"1: bad: the line is not UTF-8", "2: b view " + at},
		},
		{
			"TypeValue", func(o *Options) { o.TypeValue = "sale" }, `{"entity_id":"a","created_at":"2026-03-01T00:00:00Z"}`,
			[]string{"1: a sale " + at},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			options := textOptions(t)
			if test.options != nil {
				test.options(&options)
			}
			require.Equal(t, test.want, readAll("events.ndjson", test.text, options))
		})
	}
}
