package door

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
)

// SessionCookie is the name of the cookie that holds a session.
const SessionCookie = "daymill_session"

// SessionLength is how long a session lasts after its login.
const SessionLength = 12 * time.Hour

// session is what the cookie holds, signed: nobody can change it, but everybody who has it can read it.
type session struct {
	Name  string `json:"name"`
	Role  Role   `json:"role"`
	Until int64  `json:"until"` // Unix seconds
}

// sessions signs and reads the cookie.
type sessions struct {
	codec *securecookie.SecureCookie
	path  string
}

// newSessions returns sessions that are signed with the installation's key and all secrets of the process. A login ends when a secret changes, a
// restored copy of the database alone cannot sign sessions of the original, and nobody can guess a password from a cookie.
func newSessions(key []byte, access Access, basePath string) *sessions {
	if len(key) == 0 {
		key = []byte(rand.Text()) // Sessions then end when the process ends.
	}
	mac := hmac.New(sha256.New, key)
	for _, one := range access.named() {
		fmt.Fprintf(mac, "%q=%q\n", one.name, one.secret)
	}
	for _, account := range access.Accounts {
		fmt.Fprintf(mac, "%q\n", account.Line())
	}
	if provider := access.OIDC; provider != nil {
		fmt.Fprintf(mac, "%q\n", *provider)
	}
	codec := securecookie.New(mac.Sum(nil), nil).SetSerializer(securecookie.JSONEncoder{})
	return &sessions{codec: codec.MaxAge(int(SessionLength.Seconds())), path: basePath + "/"}
}

// Begin logs a user in: it sets the session's cookie.
func (d *Door) Begin(w http.ResponseWriter, r *http.Request, who Identity) error {
	value := session{Name: who.Name, Role: who.Role, Until: d.Clock.Now().Add(SessionLength).Unix()}
	return d.SetCookie(w, r, SessionCookie, value, SessionLength)
}

// End logs the user of a request out: it removes the session's cookie.
func (d *Door) End(w http.ResponseWriter, r *http.Request) { d.RemoveCookie(w, r, SessionCookie) }

// session returns the user of a request's session.
func (d *Door) session(r *http.Request) (Identity, bool) {
	var value session
	if err := d.ReadCookie(r, SessionCookie, &value); err != nil || !d.Clock.Now().Before(time.Unix(value.Until, 0)) {
		return Identity{}, false
	}
	return Identity{Name: value.Name, Role: value.Role}, true
}

// SetCookie sets a signed cookie that the browser keeps for a time and sends with requests that begin on these pages, or with a link to them.
func (d *Door) SetCookie(w http.ResponseWriter, r *http.Request, name string, value any, length time.Duration) error {
	text, err := d.sessions.codec.Encode(name, value)
	if err != nil {
		return fmt.Errorf("sign a cookie: %w", err)
	}
	http.SetCookie(w, d.sessions.cookie(r, name, text, int(length.Seconds())))
	return nil
}

// ReadCookie reads a signed cookie. It returns an error if there is none, or none that this installation has signed.
func (d *Door) ReadCookie(r *http.Request, name string, value any) error {
	cookie, err := r.Cookie(name)
	if err != nil {
		return fmt.Errorf("read a cookie: %w", err)
	}
	if err := d.sessions.codec.Decode(name, cookie.Value, value); err != nil {
		return fmt.Errorf("read a cookie: %w", err)
	}
	return nil
}

// RemoveCookie tells the browser to forget a cookie.
func (d *Door) RemoveCookie(w http.ResponseWriter, r *http.Request, name string) {
	http.SetCookie(w, d.sessions.cookie(r, name, "", -1))
}

func (s *sessions) cookie(r *http.Request, name, value string, age int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // It is Secure if the browser uses TLS.
		Name: name, Value: value, Path: s.path, MaxAge: age, HttpOnly: true, Secure: overTLS(r), SameSite: http.SameSiteLaxMode,
	}
}

// overTLS reports whether the browser uses TLS, according to the proxy.
func overTLS(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}
