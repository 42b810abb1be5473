package door

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// Role says what a user may do.
type Role string

// Roles, from the least rights to the most.
const (
	Viewer Role = "viewer" // may look
	Editor Role = "editor" // may also change everything, but not erase metrics
	Admin  Role = "admin"  // may also erase metrics whose events no longer exist
)

// MayChange reports whether the role may change something.
func (r Role) MayChange() bool { return r == Editor || r == Admin }

// MayErase reports whether the role may erase metrics whose events no longer exist.
func (r Role) MayErase() bool { return r == Admin }

// ParseRole returns the role of a name.
func ParseRole(name string) (Role, error) {
	if role := Role(name); slices.Contains([]Role{Viewer, Editor, Admin}, role) {
		return role, nil
	}
	return "", fmt.Errorf("there is no role %q: write viewer, editor or admin", name)
}

// Identity is a known user of a request.
type Identity struct {
	Name string // as the audit names the user
	Role Role
	// Only has the areas of the API that the user may call, separated by commas; empty for all.
	Only string
}

// Account is a person who may log in with a password of their own, or a program that may call the API with a token of its own.
type Account struct {
	Identity

	Hash string // of the password, by bcrypt; or of the token: see NewToken
}

// hashCost is the cost of new bcrypt hashes: about a quarter of a second on a small server.
const hashCost = 12

// longestPassword is the longest password in bytes: bcrypt reads no more.
const longestPassword = 72

var namePattern = regexp.MustCompile(`^[A-Za-z0-9._@+-]{1,64}$`)

// NewAccount returns an account with the hash of a password.
func NewAccount(name string, role Role, password string) (Account, error) {
	account := Account{Identity: Identity{Name: name, Role: role}}
	if err := account.checkName(); err != nil {
		return Account{}, err
	}
	switch {
	case len([]rune(password)) < shortestSecret:
		return Account{}, fmt.Errorf("the password has fewer than %d characters: choose a longer one", shortestSecret)
	case len(password) > longestPassword:
		return Account{}, fmt.Errorf("the password has more than %d bytes: choose a shorter one", longestPassword)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), hashCost)
	if err != nil {
		return Account{}, fmt.Errorf("hash the password: %w", err)
	}
	account.Hash = string(hash)
	return account, nil
}

// Line returns the account in the form that ParseAccounts parses: name:role:hash.
func (a Account) Line() string { return fmt.Sprintf("%s:%s:%s", a.Name, a.Role, a.Hash) }

func (a Account) checkName() error {
	switch {
	case !namePattern.MatchString(a.Name):
		return fmt.Errorf("%q cannot be a user's name: use up to 64 letters, digits and . _ @ + -", a.Name)
	case slices.Contains([]string{AdminUser, viewerUser, TokenUser, EraseUser, "cron"}, a.Name):
		return fmt.Errorf("the name %q is one that Daymill uses itself: choose another", a.Name)
	}
	return nil
}

// ParseAccounts reads accounts, one per line or separated by spaces, each as name:role:hash, of people and of programs. Lines that begin with # are comments. The error names the
// user and never the hash.
func ParseAccounts(text string) ([]Account, error) {
	var accounts []Account
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for entry := range strings.FieldsSeq(line) {
			account, err := parseAccount(entry)
			if err != nil {
				return nil, err
			}
			if slices.ContainsFunc(accounts, func(other Account) bool { return other.Name == account.Name }) {
				return nil, fmt.Errorf("the user %s occurs twice: keep one", account.Name)
			}
			accounts = append(accounts, account)
		}
	}
	return accounts, nil
}

func parseAccount(entry string) (Account, error) {
	const parts = 3
	fields := strings.SplitN(entry, ":", parts)
	if len(fields) < parts {
		return Account{}, errors.New("a user is written name:role:hash, as `daymill user hash` prints it")
	}
	role, err := ParseRole(fields[1])
	if err != nil {
		return Account{}, fmt.Errorf("user %q: %w", fields[0], err)
	}
	account := Account{Identity: Identity{Name: fields[0], Role: role}, Hash: fields[2]}
	if err := account.checkName(); err != nil {
		return Account{}, err
	}
	if account.isToken() {
		only, _, err := account.parseToken()
		account.Only = only
		return account, err
	}
	if _, err := bcrypt.Cost([]byte(account.Hash)); err != nil {
		return Account{}, fmt.Errorf("the hash of user %s is not a bcrypt hash: create the line with `daymill user hash`", account.Name)
	}
	return account, nil
}

type identityKey struct{}

// WithIdentity returns the context of a request that a user makes.
func WithIdentity(ctx context.Context, who Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, who)
}

// Who returns the user of a request; empty if nobody was authenticated.
func Who(ctx context.Context) Identity {
	who, _ := ctx.Value(identityKey{}).(Identity)
	return who
}

// User returns the name of a request's user; empty if nobody was authenticated.
func User(ctx context.Context) string { return Who(ctx).Name }
