package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/ui/door"
)

// loginOptions say who may log in, in addition to the users admin and viewer.
type loginOptions struct {
	Users     string `env:"DAYMILL_USERS" placeholder:"USERS" help:"More users, each as daymill user hash prints it, separated by spaces or line breaks."`
	UsersFile string `type:"path" env:"DAYMILL_USERS_FILE" placeholder:"FILE" help:"A file of more users, one per line, as daymill user hash prints them."`

	OIDCIssuer       string   `name:"oidc-issuer" env:"DAYMILL_OIDC_ISSUER" placeholder:"URL" help:"The OpenID Connect provider that people log in with."`
	OIDCClientID     string   `name:"oidc-client-id" env:"DAYMILL_OIDC_CLIENT_ID" placeholder:"ID" help:"The client ID at the provider."`
	OIDCClientSecret string   `name:"oidc-client-secret" env:"DAYMILL_OIDC_CLIENT_SECRET" placeholder:"SECRET" help:"The client's secret. Set it in the environment: other users can see the command line."`
	OIDCAdmins       []string `name:"oidc-admins" env:"DAYMILL_OIDC_ADMINS" placeholder:"WHO" help:"People of the provider who may do everything: e-mail addresses, @domain, group:NAME."`
	OIDCEditors      []string `name:"oidc-editors" env:"DAYMILL_OIDC_EDITORS" placeholder:"WHO" help:"People of the provider who may change everything, but not erase metrics."`
	OIDCViewers      []string `name:"oidc-viewers" env:"DAYMILL_OIDC_VIEWERS" placeholder:"WHO" help:"People of the provider who can read but change nothing."`
	PublicURL        string   `name:"public-url" env:"DAYMILL_PUBLIC_URL" placeholder:"URL" help:"The address of the pages as browsers see it, with the base path. The provider needs it."`

	accounts []door.Account
	provider *door.OIDC // nil if none is set
}

func (o *loginOptions) check() (err error) {
	if o.accounts, err = o.readAccounts(); err != nil {
		return err
	}
	o.provider, err = o.oidc()
	return err
}

// readAccounts reads the users from the option and from the file.
func (o *loginOptions) readAccounts() ([]door.Account, error) {
	text := o.Users
	if o.UsersFile != "" {
		file, err := os.ReadFile(o.UsersFile)
		if err != nil {
			return nil, usagef("cannot read --users-file: %w", err)
		}
		text += "\n" + string(file)
	}
	accounts, err := door.ParseAccounts(text)
	if err != nil {
		return nil, usagef("--users: %w", err)
	}
	return accounts, nil
}

// oidc returns the provider; nil if none is set.
func (o *loginOptions) oidc() (*door.OIDC, error) {
	everybody := slices.Concat(o.OIDCAdmins, o.OIDCEditors, o.OIDCViewers)
	if o.OIDCIssuer == "" {
		if o.OIDCClientID != "" || o.OIDCClientSecret != "" || len(everybody) > 0 {
			return nil, usagef("the OpenID Connect provider has no address: set DAYMILL_OIDC_ISSUER")
		}
		return nil, nil //nolint:nilnil // There is none.
	}
	switch {
	case !isHTTP(o.OIDCIssuer):
		return nil, usagef("--oidc-issuer is not an address: write one such as https://accounts.example.com")
	case o.OIDCClientID == "" || o.OIDCClientSecret == "":
		return nil, usagef("the OpenID Connect provider has no client: set DAYMILL_OIDC_CLIENT_ID and DAYMILL_OIDC_CLIENT_SECRET")
	case !isHTTP(o.PublicURL):
		return nil, usagef("the OpenID Connect provider sends browsers back to these pages: set DAYMILL_PUBLIC_URL to their address, such as https://daymill.example.com")
	case len(everybody) == 0:
		return nil, usagef("no person of the OpenID Connect provider may log in: set DAYMILL_OIDC_ADMINS, DAYMILL_OIDC_EDITORS or DAYMILL_OIDC_VIEWERS")
	}
	for _, who := range everybody {
		if strings.TrimSpace(who) != who || who == "" || who == "@" || who == "group:" || !strings.ContainsAny(who, "@:") {
			return nil, usagef("%q cannot select people of the provider: write an e-mail address, @domain or group:NAME", who)
		}
	}
	return &door.OIDC{
		Issuer: o.OIDCIssuer, ClientID: o.OIDCClientID, ClientSecret: o.OIDCClientSecret, PublicURL: o.PublicURL,
		Viewers: o.OIDCViewers, Editors: o.OIDCEditors, Admins: o.OIDCAdmins,
	}, nil
}

func isHTTP(text string) bool {
	address, err := url.Parse(text)
	return err == nil && (address.Scheme == "https" || address.Scheme == "http") && address.Host != "" && address.User == nil
}

// sessionKey reads the key that signs sessions.
func sessionKey(ctx context.Context, on *postgres.DB) ([]byte, error) {
	key, err := db.New(on).SessionKey(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the key of sessions: %w", err)
	}
	return key, nil
}
