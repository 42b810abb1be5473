package event

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTimeFormat(t *testing.T) {
	t.Parallel()

	london, err := time.LoadLocation("Europe/London")
	require.NoError(t, err)
	const none = "" // an error
	for _, test := range []struct{ format, text, want string }{
		{"02/01/2006 15:04", "31/03/2026 10:00", "2026-03-31T09:00:00Z"},
		{"02/01/2006 15:04", "03/31/2026 10:00", none},
		{"2006-01-02 15:04:05 -0700", "2026-07-01 10:00:00 +0200", "2026-07-01T08:00:00Z"},
		{"Jan 2, 2006 3:04 PM", "Jul 4, 2026 4:05 PM", "2026-07-04T15:05:00Z"},
		{"Jan 2, 2006 3:04 PM", "Jul 4, 1000 4:05 PM", none},
		{"date", "2026-07-01", "2026-06-30T23:00:00Z"},
		{"date", "2026-07-01 10:00", none},
		{"date", "2026-02-29", none},
		{"datetime", "2010-12-01 08:26:00", "2010-12-01T08:26:00Z"},
		{"datetime", "2026-07-01 10:00:00", "2026-07-01T09:00:00Z"},
		{"datetime", "2026-07-01T10:00:00.5", "2026-07-01T09:00:00.5Z"},
		{"datetime", "2026-07-01 10:00:00Z", none},
		{"epoch", "1465413032", "2016-06-08T19:10:32Z"},
		{"epoch", "1465413032.1234567", "2016-06-08T19:10:32.123456Z"},
		{"epoch", "0", "1970-01-01T00:00:00Z"},
		{"epoch", "-0", none},
		{"epoch", "-1", none},
		{"epoch", "1465413032.", none},
		{"epoch", ".5", none},
		{"epoch", "1.4e9", "2014-05-13T16:53:20Z"},
		{"epoch", "1.7723664e9", "2026-03-01T12:00:00Z"},
		{"epoch", "1.7723664005E+9", "2026-03-01T12:00:00.5Z"},
		{"epoch", "17723664000e-1", "2026-03-01T12:00:00Z"},
		{"epoch", "1e-7", "1970-01-01T00:00:00Z"},
		{"epoch", "1.4e", none},
		{"epoch", "1.4e9.5", none},
		{"epoch", "1.e9", none},
		{"epoch", "e9", none},
		{"epoch", "1.4.1e9", none},
		{"epoch", "1e99999999999", none},
		{"epoch", "1e25", none},
		{"epoch-ms", "1.7723664005e12", "2026-03-01T12:00:00.5Z"},
		{"epoch", "7289654400", none}, // 2201-01-01
		{"epoch", "7289654399.999999", "2200-12-31T23:59:59.999999Z"},
		{"epoch", "99999999999999999999999999", none},
		{"epoch-ms", "1465413032123", "2016-06-08T19:10:32.123Z"},
		{"epoch-ms", "1465413032123.4", "2016-06-08T19:10:32.1234Z"},
		{"epoch-ns", "1465413032123456789", "2016-06-08T19:10:32.123456Z"},
		{"epoch-ns", "18446744073709551615", none},
		{"epoch-us", "1465413032123456", "2016-06-08T19:10:32.123456Z"},
		{"iso", "2026-07-01T10:00:00+02:00", "2026-07-01T08:00:00Z"},
		{"iso", "2026-07-01 10:00:00.123456789+02", "2026-07-01T08:00:00.123456Z"},
		{"iso", "2026-07-01 10:00:00,5-0330", "2026-07-01T13:30:00.5Z"},
		{"iso", "2026-07-01 10:00:00 Z", "2026-07-01T10:00:00Z"},
		{"iso", "2026-07-01 10:00", "2026-07-01T09:00:00Z"},
		{"iso", "2026-07-01 10:00Z", "2026-07-01T10:00:00Z"},
		{"iso", "1970-01-01 00:00:00-00:01:15", "1970-01-01T00:01:15Z"},
		{"iso", "2200-12-31T23:59:59.999999Z", "2200-12-31T23:59:59.999999Z"},
		{"iso", "2024-02-29T00:00:00z", "2024-02-29T00:00:00Z"},
		{"iso", "1969-12-31T23:59:59Z", none},
		{"iso", "2201-01-01T00:00:00Z", none},
		{"iso", "2026-02-29T00:00:00Z", none},
		{"iso", "2026-00-01T00:00:00Z", none},
		{"iso", "2026-07-01T24:00:00Z", none},
		{"iso", "2026-07-01T23:60:00Z", none},
		{"iso", "2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"},
		{"iso", "2017-01-01T00:59:60.25+01:00", "2017-01-01T00:00:00.25Z"},
		{"iso", "2026-07-01T23:59:61Z", none},
		{"iso", "2026-07-01 10:00:00 UTC", "2026-07-01T10:00:00Z"},
		{"iso", "2026-07-01 10:00:00.5 gmt", "2026-07-01T10:00:00.5Z"},
		{"iso", "2026-07-01 10:00:00UTC", "2026-07-01T10:00:00Z"},
		{"iso", "2026-07-01 10:00:00 +0000 UTC", "2026-07-01T10:00:00Z"},
		{"iso", "2026-07-01 10:00:00 +0100 UTC", none},
		{"iso", "2026-07-01 10:00:00 UTC+1", none},
		{"iso", "2026-07-01 10:00:00 UTC UTC", none},
		{"iso", "2026-07-01 10:00:00 CET", none},
		{"iso", "2026-07-01T10:00:00.Z", none},
		{"iso", "2026-07-01T10:00:0", none},
		{"iso", "2026-07-01T10:00:00+2", none},
		{"iso", "2026-07-01T10:00:00+02:", none},
		{"iso", "2026-07-01T10:00:00+02:0", none},
		{"iso", "2026-07-01T10:00:00+24", none},
		{"iso", "2026-07-01T10:00:00+02:00x", none},
		{"iso", "2026-07-01", none},
		{"iso", "+026-07-01T10:00:00Z", none},
		{"iso", "2026-07-01x10:00:00Z", none},
		{"rfc3339", "2026-07-01T10:00:00.25Z", "2026-07-01T10:00:00.25Z"},
		{"rfc3339", "2026-07-01 10:00:00 UTC", "2026-07-01T10:00:00Z"},
		{"rfc3339", "2026-07-01T10:00:00", none},
		{"datetime", "2026-07-01 10:00:00 UTC", none},
	} {
		at, err := format(t, test.format).instant(test.text, newZone(london))
		if test.want == none {
			require.Error(t, err, "%s %q", test.format, test.text)
			continue
		}
		require.NoError(t, err, "%s %q", test.format, test.text)
		require.Equal(t, test.want, time.UnixMicro(at).UTC().Format(time.RFC3339Nano), "%s %q", test.format, test.text)
	}
}

func TestTimeFormatErrors(t *testing.T) {
	t.Parallel()

	for _, test := range []struct{ format, text, want string }{
		{"date", "1.3.2026", `the time "1.3.2026" does not have the format date (such as 2026-03-01)`},
		{
			"epoch", "1465413032123", `the time "1465413032123" is outside the years 1970 to 2200; ` +
				`it looks like milliseconds since 1970: try --time-format epoch-ms`,
		},
		{"epoch", "", `the time "" does not have the format epoch (such as 1772368496)`},
		{"epoch-ns", "99999999999999999999", `the time "99999999999999999999" is outside the years 1970 to 2200`},
		{
			"iso", "1465413032", `the time "1465413032" does not have the format iso (such as 2026-03-01T12:34:56Z or ` +
				`2026-03-01 12:34:56); it looks like seconds since 1970: try --time-format epoch`,
		},
		{
			"02/01/2006", "2026-03-01", `the time "2026-03-01" does not have the format "02/01/2006" (such as 23/11/2031)`,
		},
	} {
		_, err := format(t, test.format).instant(test.text, newZone(time.UTC))
		require.EqualError(t, err, test.want)
	}

	for name, want := range map[string]string{
		"15:04":             `"15:04" is not a time format: give one of ` + TimeFormats + `, or a layout of Go's package time that has year, month and day, such as "02/01/2006 15:04"`,
		"2006-01-02 15 MST": `the time format "2006-01-02 15 MST" has a zone's abbreviation, which is ambiguous: write the file with offsets such as +01:00`,
		"Jan 2006":          `"Jan 2006" is not a time format: give one of ` + TimeFormats + `, or a layout of Go's package time that has year, month and day, such as "02/01/2006 15:04"`,
		"unix":              `"unix" is not a time format: give one of ` + TimeFormats + `, or a layout of Go's package time that has year, month and day, such as "02/01/2006 15:04"`,
	} {
		_, err := ParseTimeFormat(name)
		require.EqualError(t, err, want)
	}
}
