package login

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/daymill/daymill/ui/door"
)

// Paths of a login with an OpenID Connect provider. The second is the redirect URI to register there.
const (
	beginPath  = door.LoginPath + "/oidc"
	returnPath = door.LoginPath + "/oidc/callback"
)

// attemptCookie stores an attempt to log in, while the browser is at the provider.
const (
	attemptCookie = "daymill_login"
	attemptLength = 10 * time.Minute
)

// providerTimeout is how long the provider may take to answer.
const providerTimeout = 5 * time.Second

// attempt has the values that the provider's answer is checked against.
type attempt struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"` // of PKCE (RFC 7636)
	Next     string `json:"next"`
}

// provider is the OpenID Connect provider. Its configuration is fetched at the first login.
type provider struct {
	mu    sync.Mutex
	known *oidc.Provider
}

// client returns the client and the token verifier of the provider.
func (s *Pages) client(ctx context.Context) (*oauth2.Config, *oidc.IDTokenVerifier, error) {
	settings := s.Door.Access.OIDC
	s.provider.mu.Lock()
	defer s.provider.mu.Unlock()
	if s.provider.known == nil {
		// The provider keeps the context for later requests for its keys.
		kept := oidc.ClientContext(context.WithoutCancel(ctx), &http.Client{Timeout: providerTimeout})
		known, err := oidc.NewProvider(kept, settings.Issuer)
		if err != nil {
			return nil, nil, err //nolint:wrapcheck // The error names the provider.
		}
		s.provider.known = known
	}
	address, err := url.JoinPath(settings.PublicURL, returnPath)
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // The URL was checked at start.
	}
	client := &oauth2.Config{
		ClientID: settings.ClientID, ClientSecret: settings.ClientSecret, Endpoint: s.provider.known.Endpoint(), RedirectURL: address,
		Scopes: []string{oidc.ScopeOpenID, "email"},
	}
	if slices.ContainsFunc(slices.Concat(settings.Viewers, settings.Editors, settings.Admins), isGroup) {
		client.Scopes = append(client.Scopes, "groups") // Some providers refuse a scope that they do not know.
	}
	return client, s.provider.known.Verifier(&oidc.Config{ClientID: settings.ClientID}), nil
}

// begin sends the browser to the provider.
func (s *Pages) begin(w http.ResponseWriter, r *http.Request) error {
	if s.Door.Access.OIDC == nil {
		s.lead(w, r, door.LoginPath)
		return nil
	}
	client, _, err := s.client(r.Context())
	if err != nil {
		return s.refuse(w, r, http.StatusBadGateway, "The provider does not answer: try again in a moment.", err)
	}
	one := attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Next: door.Inside(r.FormValue("next"))}
	if err := s.Door.SetCookie(w, r, attemptCookie, one, attemptLength); err != nil {
		return err //nolint:wrapcheck // The error is clear.
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, client.AuthCodeURL(one.State, oidc.Nonce(one.Nonce), oauth2.S256ChallengeOption(one.Verifier)), http.StatusSeeOther)
	return nil
}

// claims are the provider's claims about a person.
type claims struct {
	Email    string   `json:"email"`
	Verified bool     `json:"email_verified"`
	Groups   []string `json:"groups"`
}

// callback logs in a person who returns from the provider.
func (s *Pages) callback(w http.ResponseWriter, r *http.Request) error {
	var one attempt
	err := s.Door.ReadCookie(r, attemptCookie, &one)
	s.Door.RemoveCookie(w, r, attemptCookie)
	query := r.URL.Query()
	switch {
	case s.Door.Access.OIDC == nil:
		s.lead(w, r, door.LoginPath)
		return nil
	case err != nil || subtle.ConstantTimeCompare([]byte(one.State), []byte(query.Get("state"))) != 1:
		return s.refuse(w, r, http.StatusUnauthorized, "This login took too long or began in another browser: log in again.", err)
	case query.Get("error") != "":
		return s.refuse(w, r, http.StatusUnauthorized, "The provider did not log you in: try again.", errors.New(query.Get("error")))
	}
	said, err := s.claims(r.Context(), query.Get("code"), one)
	if err != nil {
		return s.refuse(w, r, http.StatusUnauthorized, "The provider's answer is not valid: log in again. The log has the cause.", err)
	}
	role, ok := roleOf(*s.Door.Access.OIDC, said)
	if !ok {
		return s.refuse(w, r, http.StatusForbidden,
			"The provider knows you, but you have no role here: ask the person who runs Daymill to add you.", errors.New("no role"))
	}
	if err := s.Door.Begin(w, r, door.Identity{Name: said.Email, Role: role}); err != nil {
		return err //nolint:wrapcheck // The error is clear.
	}
	s.lead(w, r, one.Next)
	return nil
}

// claims exchanges the code for the provider's claims about the person.
func (s *Pages) claims(ctx context.Context, code string, one attempt) (claims, error) {
	client, verifier, err := s.client(ctx)
	if err != nil {
		return claims{}, err
	}
	ctx = oidc.ClientContext(ctx, &http.Client{Timeout: providerTimeout})
	token, err := client.Exchange(ctx, code, oauth2.VerifierOption(one.Verifier))
	if err != nil {
		return claims{}, errors.New("the provider rejects the code") // The cause may contain a token.
	}
	raw, _ := token.Extra("id_token").(string)
	identity, err := verifier.Verify(ctx, raw)
	if err != nil {
		return claims{}, err //nolint:wrapcheck // The error says what is wrong with the token.
	}
	if identity.Nonce != one.Nonce {
		return claims{}, errors.New("the token belongs to another login")
	}
	var said claims
	if err := identity.Claims(&said); err != nil {
		return claims{}, err //nolint:wrapcheck // The error is clear.
	}
	if said.Email == "" || !said.Verified {
		return claims{}, errors.New("the token has no verified e-mail address")
	}
	return said, nil
}

// refuse shows the login page with a mistake, and logs its cause.
func (s *Pages) refuse(w http.ResponseWriter, r *http.Request, status int, mistake string, cause error) error {
	if cause != nil {
		s.Logger.WarnContext(r.Context(), "a login with the provider failed", slog.String("error", cause.Error()))
	}
	f := s.form(r)
	f.Mistake = mistake
	return s.Render(w, r, status, "Log in", loginPage(f))
}

// roleOf returns the role of a person with the most rights; false if the person has none.
func roleOf(settings door.OIDC, said claims) (door.Role, bool) {
	for _, one := range []struct {
		role door.Role
		who  []string
	}{{door.Admin, settings.Admins}, {door.Editor, settings.Editors}, {door.Viewer, settings.Viewers}} {
		for _, pattern := range one.who {
			if matches(pattern, said) {
				return one.role, true
			}
		}
	}
	return "", false
}

func isGroup(pattern string) bool { return strings.HasPrefix(pattern, "group:") }

func matches(pattern string, said claims) bool {
	if group, is := strings.CutPrefix(pattern, "group:"); is {
		return slices.Contains(said.Groups, group)
	}
	if strings.HasPrefix(pattern, "@") {
		at := strings.LastIndexByte(said.Email, '@')
		return at > 0 && strings.EqualFold(said.Email[at:], pattern)
	}
	return strings.EqualFold(said.Email, pattern)
}
