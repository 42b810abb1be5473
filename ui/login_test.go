package ui_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-proxy/mockoidc"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/daymill/daymill/ui"
	"github.com/daymill/daymill/ui/door"
)

// adaPassword is the password of ada, who has an account with the role editor.
const adaPassword = "lovelace 1815"

// account returns an account with a cheap hash.
func account(t *testing.T, name string, role door.Role, password string) door.Account {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	require.NoError(t, err)
	return door.Account{Identity: door.Identity{Name: name, Role: role}, Hash: string(hash)}
}

// browse sends a request as a browser does, with cookies.
func (s *site) browse(t *testing.T, method, path, body string, cookies ...*http.Cookie) response {
	t.Helper()
	request := s.request(t, "", method, path, body)
	request.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	for _, cookie := range cookies {
		request.AddCookie(cookie)
	}
	return s.do(t, request)
}

// login logs a user in and returns the answer and its cookie.
func (s *site) login(t *testing.T, name, password, next string) (response, *http.Cookie) {
	t.Helper()
	answer := s.browse(t, http.MethodPost, "/login", url.Values{"name": {name}, "password": {password}, "next": {next}}.Encode())
	cookies := (&http.Response{Header: answer.header}).Cookies()
	if len(cookies) == 0 {
		return answer, nil
	}
	return answer, cookies[0]
}

func TestLogin(t *testing.T) {
	t.Parallel()

	type testBundle struct {
		*site

		key []byte
		ada door.Account
	}
	setup := func(t *testing.T) *testBundle {
		t.Helper()
		key := []byte(strings.Repeat("k", 32))
		ada := account(t, "ada", door.Editor, adaPassword)
		return &testBundle{key: key, ada: ada, site: serve(t, database(t), func(c *ui.Config) {
			c.SessionKey, c.Access.Accounts = key, []door.Account{ada}
		})}
	}

	t.Run("AuditNamesTheUser", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		_, cookie := s.login(t, "ada", adaPassword, "")
		require.Equal(t, http.StatusSeeOther, s.browse(t, http.MethodPost, "/dates/2026-03-01/request", "x=1", cookie).status)
		var actor string
		require.NoError(t, s.db.QueryRow(t.Context(), `SELECT actor FROM daymill.audit ORDER BY id DESC LIMIT 1`).Scan(&actor))
		require.Equal(t, "ada", actor)
	})

	t.Run("Basic", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		request := s.request(t, "", http.MethodGet, "/", "")
		request.SetBasicAuth("ada", adaPassword)
		for range 3 { // The hash is compared only once.
			require.Equal(t, http.StatusOK, s.do(t, request).status)
		}
		request.SetBasicAuth("ada", adaPassword+"x")
		require.Equal(t, http.StatusUnauthorized, s.do(t, request).status)
		answer := s.do(t, s.request(t, "", http.MethodGet, "/", "")) // A script that accepts anything.
		require.Equal(t, http.StatusUnauthorized, answer.status)
		require.Contains(t, answer.header.Get("WWW-Authenticate"), "Basic")
	})

	t.Run("Cookie", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		answer, cookie := s.login(t, "viewer", viewerPassword, "/dates?state=failed")
		require.Equal(t, http.StatusSeeOther, answer.status)
		require.Equal(t, "/dates?state=failed", answer.header.Get("Location"))
		require.True(t, cookie.HttpOnly)
		require.False(t, cookie.Secure)
		require.Equal(t, http.SameSiteLaxMode, cookie.SameSite)
		require.Equal(t, "/", cookie.Path)
		page := s.browse(t, http.MethodGet, "/dates", "", cookie)
		require.Equal(t, http.StatusOK, page.status)
		require.Contains(t, page.body, "Log out")
		require.NotContains(t, cookie.Value, viewerPassword)

		request := s.request(t, "", http.MethodPost, "/login", url.Values{"name": {"viewer"}, "password": {viewerPassword}}.Encode())
		request.Header.Set("X-Forwarded-Proto", "https")
		require.Contains(t, s.do(t, request).header.Get("Set-Cookie"), "; Secure")
	})

	t.Run("EditorMayNotErase", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		_, cookie := s.login(t, "ada", adaPassword, "")
		for path, form := range map[string]string{
			"/backfills":                "from=2026-03-01&to=2026-03-02&erase=1",
			"/dates/2026-03-01/request": "erase=1",
		} {
			answer := s.browse(t, http.MethodPost, path, form, cookie)
			require.Equal(t, http.StatusUnprocessableEntity, answer.status, path)
			require.Contains(t, answer.body, "Your role may not erase metrics", path)
		}
		var requests int
		require.NoError(t, s.db.QueryRow(t.Context(), `SELECT count(*) FROM daymill.audit`).Scan(&requests))
		require.Zero(t, requests)
	})

	t.Run("Ends", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		_, cookie := s.login(t, "ada", adaPassword, "")
		s.clock.set(time.Now().Add(door.SessionLength - time.Minute))
		require.Equal(t, http.StatusOK, s.browse(t, http.MethodGet, "/", "", cookie).status)
		s.clock.set(time.Now().Add(door.SessionLength + time.Minute))
		answer := s.browse(t, http.MethodGet, "/dates?state=failed", "", cookie)
		require.Equal(t, http.StatusSeeOther, answer.status)
		require.Equal(t, "/login?next=%2Fdates%3Fstate%3Dfailed", answer.header.Get("Location"))

		// A form after the end of the session says that nothing was changed, and leads back to its page.
		request := s.request(t, "", http.MethodPost, "/dates/2026-03-01/request", "x=1")
		request.Header.Set("Accept", "text/html")
		request.Header.Set("Referer", s.URL+"/dates/2026-03-01")
		request.AddCookie(cookie)
		answer = s.do(t, request)
		require.Equal(t, "/login?next=%2Fdates%2F2026-03-01&unsent=1", answer.header.Get("Location"))
		require.Contains(t, s.browse(t, http.MethodGet, answer.header.Get("Location"), "").body, "the form was not sent")

		// The login page does not replace a live part of a page.
		request = s.request(t, "", http.MethodGet, "/", "")
		request.Header.Set("Accept", "text/html")
		request.Header.Set("Hx-Request", "true")
		require.Equal(t, http.StatusUnauthorized, s.do(t, request).status)
	})

	t.Run("Forged", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		_, cookie := s.login(t, "viewer", viewerPassword, "")
		decoded, err := base64.URLEncoding.DecodeString(cookie.Value)
		require.NoError(t, err)
		for at := range len(cookie.Value) {
			other := byte('A')
			if cookie.Value[at] == other {
				other = 'B'
			}
			forged := &http.Cookie{Name: cookie.Name, Value: cookie.Value[:at] + string(other) + cookie.Value[at+1:]}
			// The last digit of base64 has unused bits.
			if got, err := base64.URLEncoding.DecodeString(forged.Value); err == nil && bytes.Equal(got, decoded) {
				continue
			}
			require.Equal(t, http.StatusSeeOther, s.browse(t, http.MethodGet, "/", "", forged).status, at)
		}
	})

	t.Run("Logout", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		_, cookie := s.login(t, "ada", adaPassword, "")
		answer := s.browse(t, http.MethodPost, "/logout", "", cookie)
		require.Equal(t, "/login", answer.header.Get("Location"))
		require.Contains(t, answer.header.Get("Set-Cookie"), door.SessionCookie+"=; Path=/; Max-Age=0")
	})

	t.Run("Next", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for _, next := range []string{
			"//evil.example/", "https://evil.example/", `/\evil.example`, "javascript:alert(1)", "/login", "/login/oidc", "dates", "", "/\t/evil.example",
			"http:evil.example", "%2f%2fevil.example", "////evil.example/",
		} {
			answer, _ := s.login(t, "ada", adaPassword, next)
			require.Equal(t, "/", answer.header.Get("Location"), next)
		}
	})

	t.Run("Open", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), func(c *ui.Config) { c.Access = door.Access{} })
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			require.Equal(t, "/", s.browse(t, method, "/login", "").header.Get("Location"), method)
		}
	})

	t.Run("SecretsChange", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		_, cookie := s.login(t, "admin", adminPassword, "")
		for name, c := range map[string]struct {
			change func(c *ui.Config)
			status int
		}{
			"Account":  {func(c *ui.Config) { c.Access.Accounts = nil }, http.StatusSeeOther},
			"Key":      {func(c *ui.Config) { c.SessionKey = []byte("another") }, http.StatusSeeOther},
			"Nothing":  {func(*ui.Config) {}, http.StatusOK},
			"Password": {func(c *ui.Config) { c.Access.AdminPassword = "another password" }, http.StatusSeeOther},
		} {
			other := serve(t, s.db, func(config *ui.Config) {
				config.SessionKey, config.Access.Accounts = s.key, []door.Account{s.ada}
				c.change(config)
			})
			require.Equal(t, c.status, other.browse(t, http.MethodGet, "/", "", cookie).status, name)
		}
	})

	t.Run("Viewer", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		_, cookie := s.login(t, "viewer", viewerPassword, "")
		require.Equal(t, http.StatusForbidden, s.browse(t, http.MethodPost, "/dates/2026-03-01/request", "x=1", cookie).status)
		require.NotContains(t, s.browse(t, http.MethodGet, "/backfills", "", cookie).body, `action="/backfills"`)
	})

	t.Run("Wrong", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.clock.set(time.Now()) // The clock does not move, so no failure expires.
		for range 10 {
			answer, cookie := s.login(t, "ada", "guess", "")
			require.Nil(t, cookie)
			require.Equal(t, http.StatusUnauthorized, answer.status)
			require.Contains(t, answer.body, "The name or the password is wrong")
			require.NotContains(t, answer.body, "guess")
		}
		answer, cookie := s.login(t, "ada", adaPassword, "") // Even the right password is not compared.
		require.Nil(t, cookie)
		require.Equal(t, http.StatusTooManyRequests, answer.status)
		require.Equal(t, door.RetryAfter, answer.header.Get("Retry-After"))
	})
}

// TestLoginProvider logs people in with an OpenID Connect provider.
func TestLoginProvider(t *testing.T) {
	t.Parallel()

	type testBundle struct {
		*site

		provider *mockoidc.MockOIDC
	}
	setup := func(t *testing.T, between ...func(http.Handler) http.Handler) *testBundle {
		t.Helper()
		provider, err := mockoidc.NewServer(nil)
		require.NoError(t, err)
		for _, one := range between {
			require.NoError(t, provider.AddMiddleware(one))
		}
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, provider.Start(listener, nil))
		t.Cleanup(func() { _ = provider.Shutdown() })
		settings := &door.OIDC{
			Issuer: provider.Issuer(), ClientID: provider.ClientID, ClientSecret: provider.ClientSecret,
			Admins: []string{"group:operations"}, Editors: []string{"ada@example.com"}, Viewers: []string{"@example.com"},
		}
		s := serve(t, database(t), func(c *ui.Config) { c.Access = door.Access{OIDC: settings} })
		settings.PublicURL = s.URL
		return &testBundle{s, provider}
	}
	// enter follows a login from these pages to the provider and back, and returns the last answer.
	enter := func(t *testing.T, s *testBundle, user *mockoidc.MockUser, change func(back *url.URL)) response {
		t.Helper()
		s.provider.QueueUser(user)
		jar, err := cookiejar.New(nil)
		require.NoError(t, err)
		client := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if r.URL.Path == "/login/oidc/callback" && change != nil {
				change(r.URL)
			}
			return nil
		}}
		answer, err := client.Get(s.URL + "/login/oidc?next=/dates")
		require.NoError(t, err)
		defer answer.Body.Close()
		body := new(strings.Builder)
		_, err = io.Copy(body, answer.Body)
		require.NoError(t, err)
		return response{answer.StatusCode, http.Header{"Location": {answer.Request.URL.Path}}, body.String()}
	}

	t.Run("Code", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		answer := enter(t, s, &mockoidc.MockUser{Subject: "1", Email: "ada@example.com", EmailVerified: true}, func(back *url.URL) {
			query := back.Query()
			query.Set("code", "guess")
			back.RawQuery = query.Encode()
		})
		require.Equal(t, http.StatusUnauthorized, answer.status)
		require.Contains(t, answer.body, "answer is not valid")
	})

	t.Run("Down", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		require.NoError(t, s.provider.Shutdown())
		answer := s.browse(t, http.MethodGet, "/login/oidc", "")
		require.Equal(t, http.StatusBadGateway, answer.status)
		require.Contains(t, answer.body, "The provider does not answer")
	})

	t.Run("NoRole", func(t *testing.T) {
		t.Parallel()
		answer := enter(t, setup(t), &mockoidc.MockUser{Subject: "1", Email: "eve@evil-example.com", EmailVerified: true, Groups: []string{"operation"}}, nil)
		require.Equal(t, http.StatusForbidden, answer.status)
		require.Contains(t, answer.body, "you have no role here")
	})

	t.Run("Nonce", func(t *testing.T) {
		t.Parallel()
		// The provider's answer to another login, instead of the answer to this one.
		s := setup(t, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if query := r.URL.Query(); query.Has("nonce") {
					query.Set("nonce", "another")
					r.URL.RawQuery = query.Encode()
				}
				next.ServeHTTP(w, r)
			})
		})
		answer := enter(t, s, &mockoidc.MockUser{Subject: "1", Email: "ada@example.com", EmailVerified: true}, nil)
		require.Equal(t, http.StatusUnauthorized, answer.status)
		require.Contains(t, answer.body, "answer is not valid")
	})

	t.Run("Roles", func(t *testing.T) {
		t.Parallel()
		for email, one := range map[string]struct {
			groups []string
			role   door.Role
		}{
			"Ada@Example.com":   {nil, door.Editor},
			"grace@example.com": {[]string{"operations"}, door.Admin},
			"joan@example.com":  {[]string{"design"}, door.Viewer},
		} {
			answer := enter(t, setup(t), &mockoidc.MockUser{Subject: "1", Email: email, EmailVerified: true, Groups: one.groups}, nil)
			require.Equal(t, http.StatusOK, answer.status, email)
			require.Equal(t, "/dates", answer.header.Get("Location"))
			require.Contains(t, answer.body, email)
			require.Contains(t, answer.body, "role: "+string(one.role))
		}
	})

	t.Run("State", func(t *testing.T) {
		t.Parallel()
		// A link from somebody else would log the browser in as that person.
		answer := enter(t, setup(t), &mockoidc.MockUser{Subject: "1", Email: "ada@example.com", EmailVerified: true}, func(back *url.URL) {
			query := back.Query()
			query.Set("state", "another")
			back.RawQuery = query.Encode()
		})
		require.Equal(t, http.StatusUnauthorized, answer.status)
		require.Contains(t, answer.body, "began in another browser")
	})

	t.Run("Unverified", func(t *testing.T) {
		t.Parallel()
		answer := enter(t, setup(t), &mockoidc.MockUser{Subject: "1", Email: "ada@example.com"}, nil)
		require.Equal(t, http.StatusUnauthorized, answer.status)
	})
}
