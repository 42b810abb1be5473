package source

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOperand(t *testing.T) {
	t.Parallel()
	const compared = " >= '" + sentinel + "'::timestamp with time zone)"
	for condition, want := range map[string]string{
		"":                      "",
		"(e.kind = 'a'::text)":  "",
		"(e.at" + compared:      "e.at",
		"((e.at)::x" + compared: "(e.at)::x",
		"((a = ')'::text) AND (e.at" + compared + ")":       "e.at",
		"((a = '(''('::text) AND (e.at" + compared + ")":    "e.at",
		`((e."(" = 1) AND (e."a"")"` + compared + " OR b)":  `e."a"")"`,
		"(CASE WHEN (a > 1) THEN b ELSE c END" + compared:   "CASE WHEN (a > 1) THEN b ELSE c END",
		"(to_timestamp((e.s)::double precision)" + compared: "to_timestamp((e.s)::double precision)",
	} {
		require.Equal(t, want, operand(condition, sentinel), condition)
	}
}

func TestUnqualified(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ expression, alias, want string }{
		{"e.at", "e", "at"},
		{"events.e.at", "e", "events.e.at"},
		{"ee.at", "e", "ee.at"},
		{"(e.at)::timestamp with time zone", "e", "(at)::timestamp with time zone"},
		{"e.to_instant(e.at)", "e", "e.to_instant(at)"},
		{`"E x"."At"`, "E x", `"At"`},
		{`"E".at || 'E.at'`, "E", `at || 'E.at'`},
		{`"e""".at`, `e"`, "at"},
		{"é.at", "é", "at"},
		{"'e.at'", "e", "'e.at'"},
		{"'e", "e", "'e"},
	} {
		require.Equal(t, c.want, unqualified(c.expression, c.alias), c.expression)
	}
}
