// Package login is the login page: a user's password, or an OpenID Connect provider. It begins and ends sessions.
package login

import (
	"net/http"
	"net/url"

	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/page"
)

// Pages are the pages that need no login.
type Pages struct {
	*page.Site

	Door *door.Door

	provider provider
}

// Route adds the pages to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	for pattern, handle := range map[string]func(w http.ResponseWriter, r *http.Request) error{
		"GET " + door.LoginPath:  s.show,
		"POST " + door.LoginPath: s.enter,
		"GET " + beginPath:       s.begin,
		"GET " + returnPath:      s.callback,
		"POST /logout":           s.leave,
	} {
		mux.Handle(pattern, s.Scoped(s.Page(handle)))
	}
}

// form has the content of the login page.
type form struct {
	Next     string // page to show after the login
	Name     string
	Mistake  string
	Unsent   bool // a form was refused because its session had ended
	Password bool // somebody may log in with a password
	Provider bool // people may log in with an OpenID Connect provider
}

func (s *Pages) form(r *http.Request) form {
	return form{
		Next: door.Inside(r.FormValue("next")), Name: r.PostFormValue("name"), Unsent: r.FormValue("unsent") != "",
		Password: s.Door.Access.ByPassword(), Provider: s.Door.Access.OIDC != nil,
	}
}

func (s *Pages) show(w http.ResponseWriter, r *http.Request) error {
	if s.Open {
		s.lead(w, r, "/")
		return nil
	}
	return s.Render(w, r, http.StatusOK, "Log in", loginPage(s.form(r)))
}

// enter logs a user in who gave the right password.
func (s *Pages) enter(w http.ResponseWriter, r *http.Request) error {
	if s.Open {
		s.lead(w, r, "/")
		return nil
	}
	f := s.form(r)
	who, came := s.Door.Password(r, f.Name, r.PostFormValue("password"))
	switch came {
	case door.Right:
		if err := s.Door.Begin(w, r, who); err != nil {
			return err
		}
		s.lead(w, r, f.Next)
		return nil
	case door.Throttled:
		w.Header().Set("Retry-After", door.RetryAfter)
		f.Mistake = "Too many wrong passwords: wait a few seconds and try again."
		return s.Render(w, r, http.StatusTooManyRequests, "Log in", loginPage(f))
	default:
		f.Mistake = "The name or the password is wrong."
		return s.Render(w, r, http.StatusUnauthorized, "Log in", loginPage(f))
	}
}

// leave ends a session.
func (s *Pages) leave(w http.ResponseWriter, r *http.Request) error {
	s.Door.End(w, r)
	s.lead(w, r, door.LoginPath)
	return nil
}

// lead redirects the browser to a page of this site.
func (s *Pages) lead(w http.ResponseWriter, r *http.Request, next string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, s.BasePath+next, http.StatusSeeOther)
}

// beginQuery returns the query that begins a login with the provider.
func beginQuery(next string) url.Values {
	if next == "/" {
		return nil
	}
	return url.Values{"next": {next}}
}
