package door

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Names of the users whose secrets are in the environment, as they appear in the audit.
const (
	AdminUser  = "admin"
	viewerUser = "viewer"
	TokenUser  = "api"       // a caller with the API's token
	EraseUser  = "api-erase" // a caller with the API's token that may erase
)

// Access holds the secrets that let clients in. An empty secret lets nobody in.
type Access struct {
	AdminPassword  string // of the user admin, who may do everything
	ViewerPassword string // of the user viewer, who may only look
	APIToken       string // bearer token for the API
	EraseToken     string // bearer token for the API that may also erase metrics
	CronSecret     string // bearer token for schedulers that call /api/cron/…
	MetricsToken   string // bearer token for /metrics
	Accounts       []Account
	OIDC           *OIDC // nil if there is no provider
}

// OIDC is an OpenID Connect provider that people log in with.
type OIDC struct {
	Issuer       string // its URL
	ClientID     string
	ClientSecret string
	PublicURL    string // address of the pages as browsers see it, with the base path
	// Viewers, Editors and Admins say who has a role: an e-mail address, @domain for all addresses of a domain, or group:NAME. A person in none of
	// them cannot log in, and a person in several has the most rights.
	Viewers, Editors, Admins []string
}

// Open reports whether there is no way to log in and no API token. The pages and the API then answer only this machine, and every user of it is the
// admin. If any of them is set, everything else is closed as well.
func (a Access) Open() bool {
	return !a.ByPassword() && a.OIDC == nil && a.APIToken == "" && a.EraseToken == "" && len(a.Accounts) == 0
}

// ByPassword reports whether somebody may log in with a password.
func (a Access) ByPassword() bool {
	return a.AdminPassword != "" || a.ViewerPassword != "" || slices.ContainsFunc(a.Accounts, func(one Account) bool { return !one.isToken() })
}

// login returns the user of a name, and the password's secret. Nobody has the secret of an unknown name, but comparing with it takes as long.
func (a Access) login(name string) (Identity, secret) {
	switch name {
	case AdminUser:
		return Identity{Name: AdminUser, Role: Admin}, plain(a.AdminPassword)
	case viewerUser:
		return Identity{Name: viewerUser, Role: Viewer}, plain(a.ViewerPassword)
	}
	for _, account := range a.Accounts {
		if account.Name == name && !account.isToken() {
			return account.Identity, hash(account.Hash)
		}
	}
	if len(a.Accounts) > 0 {
		return Identity{}, hash(nobody)
	}
	return Identity{}, plain("")
}

// named returns the secrets, each with its environment variable.
func (a Access) named() []struct{ name, secret string } {
	return []struct{ name, secret string }{
		{"DAYMILL_ADMIN_PASSWORD", a.AdminPassword},
		{"DAYMILL_VIEWER_PASSWORD", a.ViewerPassword},
		{"DAYMILL_API_TOKEN", a.APIToken},
		{"DAYMILL_ERASE_TOKEN", a.EraseToken},
		{"CRON_SECRET", a.CronSecret},
		{"DAYMILL_METRICS_TOKEN", a.MetricsToken},
	}
}

// shortestSecret is the minimum length of a secret in characters.
const shortestSecret = 8

// Check rejects unsafe secrets: short ones, two equal ones, and those that no client can send. Its error names the variable and never the secret.
// It returns a warning for each secret that could be guessed.
func (a Access) Check() (warnings []string, err error) {
	all := a.named()
	for i, one := range all {
		if one.secret == "" {
			continue
		}
		switch {
		case one.secret != strings.TrimSpace(one.secret):
			return nil, fmt.Errorf("%s begins or ends with a space or a line break, which clients drop: set it without them", one.name)
		case strings.IndexFunc(one.secret, unicode.IsControl) >= 0:
			return nil, fmt.Errorf("%s has a control character, which no client can send: set another one", one.name)
		case utf8.RuneCountInString(one.secret) < shortestSecret:
			return nil, fmt.Errorf("%s has fewer than %d characters: set a longer one, such as of `openssl rand -hex 16`", one.name, shortestSecret)
		}
		for _, other := range all[:i] {
			if other.secret == one.secret {
				return nil, fmt.Errorf("%s and %s are equal, so everybody who has one has the other: set two different ones", other.name, one.name)
			}
		}
		if !Strong(one.secret) {
			warnings = append(warnings, one.name+" can be guessed, so attempts are throttled, and other people's attempts can delay yours: "+
				"set a longer one, such as of `openssl rand -hex 16`")
		}
	}
	return warnings, nil
}

// Strong reports whether a secret is too long and too varied to be guessed: 20 characters or more, 8 of them different.
func Strong(secret string) bool {
	const length, variety = 20, 8
	different := make(map[rune]bool)
	for _, c := range secret {
		different[c] = true
	}
	return utf8.RuneCountInString(secret) >= length && len(different) >= variety
}
