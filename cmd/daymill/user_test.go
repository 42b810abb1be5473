package main

import (
	"os"
	"path/filepath"
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
