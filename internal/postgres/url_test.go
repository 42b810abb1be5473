package postgres

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each mistake in a URL gets a sentence that says which part is wrong and what to write, and none shows the password.
func TestURLMistakes(t *testing.T) {
	t.Parallel()
	broken := filepath.Join(t.TempDir(), "broken.pem")
	require.NoError(t, os.WriteFile(broken, []byte("x"), 0o600))
	for name, test := range map[string]struct{ url, says string }{
		"Assignment":     {"DATABASE_URL=postgres://u:hunter2@h/x", "name of a variable"},
		"BadPort":        {"postgres://u:hunter2@h:port/x", "host:5432"},
		"Certificate":    {"postgres://u:hunter2@h/x?sslmode=verify-full&sslrootcert=" + broken, "no certificate in PEM format"},
		"Command":        {"psql postgres://u:hunter2@h/x", "a program"},
		"Java":           {"jdbc:postgresql://h/x?password=hunter2", "jdbc:"},
		"LargePort":      {"postgres://u:hunter2@h:99999/x", "1 to 65535"},
		"NoFile":         {"postgres://u:hunter2@h/x?sslmode=verify-full&sslrootcert=/nowhere", "sslrootcert names cannot be read"},
		"NoNumber":       {"postgres://u:hunter2@h/x?connect_timeout=x", "connect_timeout"},
		"OtherDatabase":  {"mysql://u:hunter2@h/x", "does not begin with postgres://"},
		"Parameter":      {"postgres://u:hunter2@h/x?sslmode=disable&target_session_attrs=bogus", `its "target_session_attrs" has a value that does not exist`},
		"Password":       {"postgres://u:hunter2%zz@h/x", "%25"},
		"Service":        {"postgres://u:hunter2@h/x?service=nowhere", "service file"},
		"Space":          {"postgres://u:hunter2 x@h/x", "a character before them is not encoded; in a user, password or database, write : / ? # [ ] @ % and a space"},
		"SSLMode":        {"postgres://u:hunter2@h/x?sslmode=bogus", "verify-full"},
		"SSLModeKeyword": {"host=h password=hunter2 sslmode=bogus", "verify-full"},
		"Text":           {"hunter2", "postgres://user:password@host:5432/database"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parse(test.url)
			require.ErrorIs(t, err, ErrURL)
			require.ErrorContains(t, err, test.says)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

// Parameters of other programs, and what is copied along with a URL, do no harm.
func TestURLForgiven(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://u:p@h:6000/x?sslmode=disable\n", "  postgres://u:p@h:6000/x?sslmode=disable", `"postgres://u:p@h:6000/x?sslmode=disable"`,
		"'postgres://u:p@h:6000/x?sslmode=disable'", "postgres://u:p@h:6000/x?schema=public&sslmode=disable",
		"postgres://u:p@h:6000/x?pgbouncer=true&connection_limit=1&pool_timeout=0&sslmode=disable",
		"postgres://u:p@h:6000/x?sslmode=no-verify", "postgres://u:p@h:6000/x?sslmode=disable&connect_timeout=30",
	} {
		config, err := parse(url)
		require.NoError(t, err, url)
		require.Equal(t, "h", config.ConnConfig.Host)
		require.EqualValues(t, 6000, config.ConnConfig.Port)
		require.Equal(t, "x", config.ConnConfig.Database)
		require.Empty(t, config.ConnConfig.RuntimeParams["schema"]+config.ConnConfig.RuntimeParams["pgbouncer"])
	}
}

// Other users of a machine can see the arguments of programs.
func TestForProgram(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"postgres://u:s%40cret@h:6000/x":                                  "postgres://u@h:6000/x",
		"postgres://u:s%40cret@h:6000/x?schema=public&options=-c%20a%3Db": "postgres://u@h:6000/x?options=-c%20a%3Db",
		"postgres://u@h/x?password=s%40cret&sslmode=require\n":            "postgres://u@h/x?sslmode=require",
		"postgresql:///x?host=%2Ftmp%2Fd&user=u&password=s%40cret":        "postgresql:///x?host=%2Ftmp%2Fd&user=u",
		"host=h user=u password=s@cret dbname=x":                          "host=h user=u  dbname=x",
		"host=h user=u dbname=x password = 's@cret'":                      "host=h user=u dbname=x",
	} {
		address, environment, err := ForProgram(given)
		require.NoError(t, err, given)
		require.Equal(t, want, address, given)
		require.Equal(t, []string{"PGPASSWORD=s@cret"}, environment, given)
	}
	_, environment, err := ForProgram("postgres://u@h/x")
	require.NoError(t, err)
	require.Empty(t, environment)
	_, _, err = ForProgram("postgres://u:secret@h:port/x")
	require.ErrorIs(t, err, ErrURL)
	require.NotContains(t, err.Error(), "secret")
}
