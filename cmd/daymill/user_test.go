package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/ui/door"
)

func TestUserHash(t *testing.T) {
	t.Parallel()
	hash := func(input string, args ...string) (int, string, string) {
		var stdout, stderr strings.Builder
		a := &app{stdin: strings.NewReader(input), stdout: &stdout, stderr: &stderr}
		code := execute(t.Context(), a, append([]string{"user", "hash"}, args...))
		return code, stdout.String(), stderr.String()
	}

	t.Run("Bad", func(t *testing.T) {
		t.Parallel()
		for want, one := range map[string][]string{
			"fewer than 8 characters":  {"short", "ada"},
			"more than 72 bytes":       {strings.Repeat("long", 20), "ada"},
			"cannot be a user's name":  {"lovelace 1815", "ada:admin"},
			"that Daymill uses itself": {"lovelace 1815", "admin"},
		} {
			code, stdout, stderr := hash(one[0]+"\n", one[1])
			require.NotZero(t, code, want)
			require.Empty(t, stdout)
			require.Contains(t, stderr, want)
			require.NotContains(t, stderr, one[0])
		}
	})

	t.Run("Line", func(t *testing.T) {
		t.Parallel()
		code, line, stderr := hash("lovelace 1815\n", "ada", "--role", "editor")
		require.Zero(t, code, stderr)
		require.NotContains(t, line, "lovelace")
		accounts, err := door.ParseAccounts("# the team\n" + line)
		require.NoError(t, err)
		require.Equal(t, "ada", accounts[0].Name)
		require.Equal(t, door.Editor, accounts[0].Role)
	})
}

// TestLoginOptions checks the options for logins.
func TestLoginOptions(t *testing.T) {
	t.Parallel()
	const hash = "$2a$04$cpgJPURSrgtcGlPxCuzmOuFlVACSIR6HzTEdE2RMmzrOqDeiGPnQC"
	file := filepath.Join(t.TempDir(), "users")
	require.NoError(t, os.WriteFile(file, []byte("ada:admin:"+hash+"\n\n# left in May\n# eve:viewer:"+hash+"\n"), 0o600))
	provider := loginOptions{
		OIDCIssuer: "https://accounts.example.com", OIDCClientID: "daymill", OIDCClientSecret: "secret", PublicURL: "https://daymill.example.com",
		OIDCAdmins: []string{"ada@example.com"},
	}
	with := func(change func(o *loginOptions)) loginOptions {
		o := provider
		change(&o)
		return o
	}
	for want, o := range map[string]loginOptions{
		"":                                {Users: "bob:viewer:" + hash, UsersFile: file},
		"cannot read --users-file":        {UsersFile: file + "x"},
		"set DAYMILL_OIDC_CLIENT_ID":      with(func(o *loginOptions) { o.OIDCClientID = "" }),
		"set DAYMILL_OIDC_ISSUER":         with(func(o *loginOptions) { o.OIDCIssuer = "" }),
		"--oidc-issuer is not an address": with(func(o *loginOptions) { o.OIDCIssuer = "accounts.example.com" }),
		"set DAYMILL_PUBLIC_URL":          with(func(o *loginOptions) { o.PublicURL = "" }),
		"no person of the OpenID Connect": with(func(o *loginOptions) { o.OIDCAdmins = nil }),
		`"ada" cannot select people`:      with(func(o *loginOptions) { o.OIDCViewers = []string{"ada"} }),
		"the user ada occurs twice":       {Users: "ada:viewer:" + hash, UsersFile: file},
		`there is no role "boss"`:         {Users: "bob:boss:" + hash},
		"is not a bcrypt hash":            {Users: "bob:viewer:plain-password"},
		"a user is written name:role:ha":  {Users: "bob:viewer"},
	} {
		err := o.check()
		if want == "" {
			require.NoError(t, err)
			require.Len(t, o.accounts, 2)
			continue
		}
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "plain-password")
		require.NotContains(t, err.Error(), hash)
	}
}

func TestUserToken(t *testing.T) {
	t.Parallel()
	token := func(args ...string) (int, string, string) {
		var stdout, stderr strings.Builder
		a := &app{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr}
		code := execute(t.Context(), a, append([]string{"user", "token"}, args...))
		return code, stdout.String(), stderr.String()
	}
	for want, args := range map[string][]string{
		`the API has no area "metrics": it is one of `: {"deploy", "--only", "metrics"},
		"that Daymill uses itself":                     {"api"},
	} {
		code, stdout, stderr := token(args...)
		require.Equal(t, exitUsage, code, want)
		require.Empty(t, stdout)
		require.Contains(t, stderr, want)
	}
	code, stdout, stderr := token("deploy", "--role", "editor", "--only", "rollups,backfills")
	require.Zero(t, code, stderr)
	parts := regexp.MustCompile(`^Token, which is shown only now: (daymill_[\w-]{43})\nLine for DAYMILL_USERS: (deploy:editor:sha256\$rollups,backfills\$[0-9a-f]{64})\n$`).FindStringSubmatch(stdout)
	require.NotNil(t, parts, stdout)
	accounts, err := door.ParseAccounts(parts[2])
	require.NoError(t, err)
	require.Equal(t, door.Identity{Name: "deploy", Role: door.Editor, Only: "rollups,backfills"}, accounts[0].Identity)
	for _, bad := range []string{"deploy:editor:sha256$", "deploy:editor:sha256$$00", "deploy:editor:sha256$A$" + strings.Repeat("0", 64)} {
		_, err = door.ParseAccounts(bad)
		require.ErrorContains(t, err, "the hash of user deploy is not that of a token: create the line with `daymill user token`")
	}
}
