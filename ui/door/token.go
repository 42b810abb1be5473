package door

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// tokenPrefix begins each token, so that scanners of leaked secrets can find them.
const tokenPrefix = "daymill_"

// tokenHash begins the hash of an account that has a token. The areas and the SHA-256 of the token follow. A token is random and as long
// as its hash, so unlike a password it needs no slow hash.
const tokenHash = "sha256$"

// areasPattern matches areas of the API: first parts of its paths, separated by commas.
var areasPattern = regexp.MustCompile(`^([a-z]+(,[a-z]+)*)?$`)

// NewToken returns an account for a program, and the token that the program sends. Areas are the first parts of the API's paths that it may call,
// such as "totals"; all if there are none.
func NewToken(name string, role Role, areas []string) (Account, string, error) {
	random := make([]byte, sha256.Size)
	_, _ = rand.Read(random) // It never fails.
	token := tokenPrefix + base64.RawURLEncoding.EncodeToString(random)
	sum := sha256.Sum256([]byte(token))
	only := strings.Join(areas, ",")
	account := Account{Identity: Identity{Name: name, Role: role, Only: only}, Hash: tokenHash + only + "$" + hex.EncodeToString(sum[:])}
	if !areasPattern.MatchString(only) {
		return Account{}, "", fmt.Errorf("%q is not a list of areas: write first parts of paths of the API, such as totals,entities", only)
	}
	return account, token, account.checkName()
}

// isToken reports whether the account has a token. Nobody can log in with it.
func (a Account) isToken() bool { return strings.HasPrefix(a.Hash, tokenHash) }

// parseToken reads the areas of an account that has a token, and its hash.
func (a Account) parseToken() (only string, hash digest, err error) {
	only, text, _ := strings.Cut(strings.TrimPrefix(a.Hash, tokenHash), "$")
	sum, err := hex.DecodeString(text)
	if err != nil || len(sum) != sha256.Size || !areasPattern.MatchString(only) {
		return "", digest{}, fmt.Errorf("the hash of user %s is not that of a token: create the line with `daymill user token`", a.Name)
	}
	return only, digest(sum), nil
}

// digest is a token whose SHA-256 alone is known.
type digest [sha256.Size]byte

func (d digest) matches(given string) bool {
	sum := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(sum[:], d[:]) == 1
}

// strong returns true, because Daymill made the token.
func (digest) strong() bool { return true }

// bearer returns the user that a bearer token belongs to, and the secret to compare it with.
func (a Access) bearer(given string) (Identity, secret) {
	for _, account := range a.Accounts {
		if !account.isToken() {
			continue
		}
		if _, hash, err := account.parseToken(); err == nil && hash.matches(given) {
			return account.Identity, hash
		}
	}
	if Equal(given, a.EraseToken) {
		return Identity{Name: EraseUser, Role: Admin}, plain(a.EraseToken)
	}
	return Identity{Name: TokenUser, Role: Editor}, plain(a.APIToken)
}

// May reports whether the user may call an area of the API.
func (i Identity) May(area string) bool {
	return i.Only == "" || slices.Contains(strings.Split(i.Only, ","), area)
}
