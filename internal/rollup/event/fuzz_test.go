package event

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
)

// requireSound reads a file to its end: lines ascend, and every event could be stored. It returns the number of events
// and whether the end was reached.
func requireSound(t *testing.T, name, text string, options Options) (events int, complete bool) {
	t.Helper()
	reader, err := NewReader(name, strings.NewReader(text), options)
	if err != nil {
		var blamed *InputError
		require.ErrorAs(t, err, &blamed)
		return 0, false
	}
	defer reader.Close()
	line := 0
	for {
		var e Event
		var bad *RowError
		err := reader.Read(&e)
		switch {
		case err == nil:
			events++
			require.Greater(t, e.Line, line)
			line = e.Line
			for _, stored := range []string{string(e.Entity), e.Type} {
				require.NotEmpty(t, stored)
				require.LessOrEqual(t, len(stored), MaxLength)
				require.True(t, utf8.ValidString(stored))
				require.NotContains(t, stored, "\x00")
			}
			require.True(t, e.At >= firstInstant && e.At < endInstant)
		case errors.As(err, &bad):
			require.Greater(t, bad.Line, line)
			line = bad.Line
		case errors.Is(err, io.EOF):
			return events, true
		default:
			var blamed *InputError
			require.ErrorAs(t, err, &blamed)
			return events, false
		}
		require.LessOrEqual(t, line, 1+strings.Count(text, "\n"))
	}
}

func FuzzCSV(f *testing.F) {
	f.Add("a,view,2026-03-01T00:00:00Z\n")
	f.Add("\"a\nb\",\"v\"\"w\",2026-03-01 00:00:00.5+01\r\n\n\"x")
	f.Add("a,b\nc\"d,view,1\n,,\n\"a\"b,c,d\na,view,2026-03-01T00:00:00Z")
	f.Add("\x00,\xff,\ufeff\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > MaxRow {
			return
		}
		events, complete := requireSound(t, "events.csv", header+text, textOptions(t))
		// No line is lost silently: a file without quotes has an event or a bad row for each line.
		if complete && !strings.ContainsAny(text, "\"\r") {
			lines := 0
			for line := range strings.SplitSeq(text, "\n") {
				if line != "" {
					lines++
				}
			}
			all := readAll("events.csv", header+text, textOptions(t))
			require.Len(t, all, lines)
			require.LessOrEqual(t, events, lines)
		}
	})
}

func FuzzNDJSON(f *testing.F) {
	f.Add(`{"entity_id":"a","event_type":"view","created_at":"2026-03-01T00:00:00Z"}` + "\n")
	f.Add("{\"entity_id\":-12.5e3,\"event_type\":1,\"created_at\":\"2026-03-01 00:00\"}\n\n[]\nnull\n{")
	f.Add(`{"entity_id":"\ud83d\u0000","event_type":{"a":[]},"created_at":true}`)
	f.Add("\xff\n{\"a\":\xff}")
	f.Add(`{"entity_id":"\u00e9\"\\ \ud83d\ude00", "entity\u005fid" : 1, "entity_id":{"entity_id":"x"},"entity_id": "last"}`)
	f.Fuzz(func(t *testing.T, text string) {
		_, complete := requireSound(t, "events.ndjson", "\n"+text, Options{
			Format: NDJSON, Columns: Columns{Entity: "entity_id", Type: "event_type", Time: "created_at"},
			EntityType: entity.Text, TimeFormat: format(t, ""),
		})
		require.True(t, complete)
		requireAsEncodingJSON(t, strings.TrimSpace(strings.SplitN(text, "\n", 2)[0]))
	})
}

// requireAsEncodingJSON compares one line's field with the result of package encoding/json.
func requireAsEncodingJSON(t *testing.T, line string) {
	t.Helper()
	var object map[string]json.RawMessage
	if !utf8.ValidString(line) || json.Unmarshal([]byte(line), &object) != nil || object == nil {
		return
	}
	rows := newJSONRows(bufio.NewReader(strings.NewReader("")), Options{Columns: Columns{Entity: "entity_id", Type: "x", Time: "y"}})
	_ = rows.parse([]byte(line), &row{})
	got, err := rows.entity.text()
	want, has := object["entity_id"]
	switch {
	case !has || want[0] == '{' || want[0] == '[' || want[0] == 'n' || want[0] == 't' || want[0] == 'f':
		require.Error(t, err)
	case want[0] == '"':
		var text string
		require.NoError(t, json.Unmarshal(want, &text))
		if err == nil || !strings.ContainsRune(text, utf8.RuneError) {
			require.NoError(t, err)
			require.Equal(t, text, got)
		}
	default:
		require.NoError(t, err)
		require.Equal(t, string(want), got)
	}
}

func FuzzTime(f *testing.F) {
	for _, text := range []string{
		"2026-03-01T12:34:56.789+01:00", "2026-03-01 12:34", "1772368496.5", "2026-02-30", "2026-03-01T12:34:56-00:00:01", "-1", "",
	} {
		f.Add(text)
	}
	var zones [3]*zone
	for i, name := range []string{"UTC", "America/St_Johns", "Pacific/Apia"} {
		location, err := time.LoadLocation(name)
		require.NoError(f, err)
		zones[i] = newZone(location)
	}
	names := append(strings.Split(TimeFormats, ", "), "02/01/2006 15:04", time.RFC3339Nano)
	formats := make([]TimeFormat, len(names))
	for i, name := range names {
		formats[i] = format(f, name)
	}
	iso, goRFC3339 := formats[0], formats[len(formats)-1]
	f.Fuzz(func(t *testing.T, text string) {
		for _, format := range formats {
			for _, zone := range zones {
				at, err := format.instant(text, zone)
				require.True(t, err != nil || at >= firstInstant && at < endInstant, "%s: %d", format, at)
			}
		}
		// Texts that package time accepts as RFC 3339 give the same instant.
		if want, err := goRFC3339.instant(text, zones[0]); err == nil && len(text) > 18 && text[13] == ':' {
			got, err := iso.instant(text, zones[0])
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	})
}
