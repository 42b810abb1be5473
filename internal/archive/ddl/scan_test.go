package ddl_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/ddl"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) {
	if binaries, err := pgserver.Find(context.Background()); err == nil {
		_ = os.Setenv("PATH", binaries.Dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	pgtest.Main(m)
}

// count returns how many statements Postgres finds in a text: 0, 1, or 2 for several. It is -1 if the text is not valid.
func count(t *testing.T, conn *pgconn.PgConn, sql string) int {
	t.Helper()
	_, err := conn.Prepare(t.Context(), "", sql, nil)
	failure := &pgconn.PgError{}
	switch {
	case errors.As(err, &failure) && failure.Routine == "exec_parse_message" && failure.Code == "42601":
		return 2
	case errors.As(err, &failure) && slices.Contains([]string{"scan.l", "gram.y", "parser.c"}, failure.File):
		return -1
	case errors.As(err, &failure):
		return 1 // It is valid, but names something that does not exist.
	}
	require.NoError(t, err)
	return 1
}

// pieces are what random texts are made of.
var pieces = []string{
	"'", "''", "'a'", `'a\'`, `'a\'''`, "E'", "e'", `E'a\''`, "B'", "x'", "N'", "U&'", `U&"`, "u&", `"`, `"a"`, "$$", "$a$", "$a", "$1", "a$$", "a$b$", "1$$", "é$$", "1e5", "1e", "_", "é", "ÉE'",
	"--", "-", "+", "/", "*", "/*", "*/", "/**/", "*/*", "\n", "\r", "\t", " ", " ", "\f", ";", ";", "(", ")", "[", "]", ".", ",", ":", "=", "\\", "a", "b", "1", "fooE", "AS", "AS end", "end", ".end",
	"SELECT ", "SELECT 1", "; SELECT 2", "SELECT 'a' ", "CASE WHEN true THEN 1 ELSE 2 END", "; RESET ROLE; ", "CREATE TABLE t (i int)", "UESCAPE '!'", "'\n'", "'\r\t--x\n '", "' 'b'", "'--\n'",
	"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC ", "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC ", "BEGIN", "ATOMIC", "END", "; END", "; END;", "SELECT 1 END; ", "SELECT x.end; ", "RETURN 1; ", "CREATE RULE r AS ON DELETE TO t DO (DELETE FROM u; DELETE FROM v)",
}

// around are valid texts around a random one, which would rarely be valid by itself.
var around = [][2]string{
	{"", ""},
	{"SELECT ", ""},
	{"SELECT '", "'"},
	{"SELECT E'", "'"},
	{"SELECT '", "'; SELECT 1"},
	{"COMMENT ON TABLE t IS E'a'\n'", "'"},
	{"COMMENT ON TABLE t IS '", "' --\r'b'"},
	{"CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; ", "; END"},
	{"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT ", "; END; SELECT 2"},
	{"SELECT $a$", "$a$"},
	{"SELECT $é$", "$é$; SELECT 1"},
	{"SELECT 1 /*", "*/"},
	{"SELECT 1 --", "\r"},
	{`SELECT 1 AS "`, `"`},
	{`SELECT U&'`, `' UESCAPE '!'`},
	{"SELECT B'0'\n'", "'"},
}

func random(seed *rand.Rand, most int) string {
	var b strings.Builder
	for range seed.IntN(most) {
		b.WriteString(pieces[seed.IntN(len(pieces))])
	}
	return b.String()
}

// TestSplit: Postgres finds the same statements in a text. Otherwise a role could make the archive take several statements for one.
func TestSplit(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, nil)
	for name, backslashes := range map[string]bool{"Off": true, "On": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := pgconn.Connect(t.Context(), server.URL("postgres"))
			require.NoError(t, err)
			defer conn.Close(t.Context())
			_, err = conn.Exec(t.Context(), "SET standard_conforming_strings = "+name+"; SET backslash_quote = on; SET escape_string_warning = off").ReadAll()
			require.NoError(t, err)
			seed := rand.New(rand.NewPCG(33, 1))
			valid, several := 0, 0
			for range 30_000 {
				frame := around[seed.IntN(len(around))]
				sql := frame[0] + random(seed, 9) + frame[1]
				of := count(t, conn, sql)
				if of < 0 {
					continue
				}
				valid++
				all, whole := ddl.Split(sql, backslashes)
				require.True(t, whole, "%q", sql)
				if of > 1 {
					several++
					require.Greater(t, len(all), 1, "%q", sql)
				} else {
					require.LessOrEqual(t, len(all), 1, "%q", sql)
				}
				for _, one := range all {
					require.Equal(t, 1, count(t, conn, one), "%q of %q", one, sql)
				}
			}
			require.Greater(t, valid, 1500)
			require.Greater(t, several, 150)
		})
	}
}

// junk is a number that goes on with letters, which Postgres refuses, and psql reads as one thing from version 15 on.
var junk = regexp.MustCompile(`[0-9][A-Za-z_\x80-\xff]`)

// TestSplit_Psql: psql ends quotes and comments of any text where we do. It reads line by line, so a text that continues on another line is another
// one to it, and it takes every END in a function for the function's: these texts have neither.
func TestSplit_Psql(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, nil)
	for name, backslashes := range map[string]bool{"Off": true, "On": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := rand.New(rand.NewPCG(33, 2))
			const border = "\nSELECT 'border';\n"
			var texts []string
			file := "SET standard_conforming_strings = " + name + ";\n"
			for len(texts) < 3000 {
				sql := strings.ReplaceAll(random(seed, 14), "\n", "\r")
				if all, whole := ddl.Split(sql, backslashes); len(all) == 0 || !whole || ddl.Backslash(sql, backslashes) || strings.Contains(strings.ToUpper(sql), "ATOMIC") ||
					strings.ContainsAny(sql, ":[]") || junk.MatchString(sql) {
					continue
				}
				texts = append(texts, sql)
				file += sql + " \n;" + border
			}
			path := filepath.Join(t.TempDir(), "texts.sql")
			require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
			output, _ := exec.CommandContext(t.Context(), "psql", "-X", "-q", "-o", os.DevNull, "-v", "ECHO=queries", "-d", server.URL("postgres"), "-f", path).Output()
			echoed := strings.Split(string(output), "SELECT 'border';\n")
			require.Len(t, echoed, len(texts)+1)
			for i, sql := range texts {
				all, _ := ddl.Split(sql, backslashes)
				got, _ := ddl.Split(echoed[i], backslashes)
				if i == 0 {
					got = got[1:]
				}
				require.Len(t, got, len(all), "%q: %q", sql, echoed[i])
			}
		})
	}
}
