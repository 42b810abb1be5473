package door

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/telemetry"
)

// Failed attempts are throttled per client, and over all clients, because one attacker may use many addresses. Each credential has its own limits:
// guessing the password of the pages does not lock out a machine that has a token.
const (
	failuresPerClient = 10 // at once, and then one every six seconds
	failuresOfAll     = 100
	clientsKept       = 10_000
	RetryAfter        = "6" // seconds
)

// Names of the credentials in telemetry.
const (
	passwordCredential = "password"
	ApiCredential      = "api_token"
	CronCredential     = "cron_secret"
	MetricsCredential  = "metrics_token"
)

// checker checks credentials.
type checker struct {
	access    Access
	clock     pace.Clock
	listeners telemetry.Listeners

	key []byte // of the passwords in hashed

	mu      sync.Mutex
	clients map[string]*rate.Limiter   // failures by credential and client
	all     map[string]*rate.Limiter   // failures by credential
	hashed  map[[sha256.Size]byte]bool // passwords that matched a hash, so that not every request costs a bcrypt
	known   map[string]bool            // clients that have given the right credential; the limit in all does not apply to them
}

func newChecker(access Access, clock pace.Clock, listeners telemetry.Listeners) *checker {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // It never fails.
	return &checker{
		key:    key,
		access: access, clock: clock, listeners: listeners,
		clients: make(map[string]*rate.Limiter), all: make(map[string]*rate.Limiter), known: make(map[string]bool),
		hashed: make(map[[sha256.Size]byte]bool),
	}
}

// Equal compares in constant time, whatever the lengths.
func Equal(given, wanted string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(wanted))
	return wanted != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// Outcome is the result of a credential check.
type Outcome int

// Outcomes of a credential check.
const (
	Right Outcome = iota
	none
	wrong
	Throttled
)

// Basic checks a request's basic credentials and returns their user.
func (c *checker) Basic(r *http.Request) (Identity, Outcome) {
	name, given, has := r.BasicAuth()
	if !has {
		return Identity{}, none
	}
	return c.Password(r, name, given)
}

// Password checks the password of a user.
func (c *checker) Password(r *http.Request, name, given string) (Identity, Outcome) {
	who, check := c.access.login(name)
	if came := c.check(r, passwordCredential, c.remembered(name, given, check), given); came != Right {
		return Identity{}, came
	}
	return who, Right
}

// Token checks a request's bearer token.
func (c *checker) Token(r *http.Request, credential, wanted string) Outcome {
	given, has := bearerOf(r)
	if !has {
		return none
	}
	return c.check(r, credential, plain(wanted), given)
}

// Bearer checks a bearer token of the API and returns its user.
func (c *checker) Bearer(r *http.Request) (Identity, Outcome) {
	given, has := bearerOf(r)
	if !has {
		return Identity{}, none
	}
	who, wanted := c.access.bearer(given)
	if came := c.check(r, ApiCredential, wanted, given); came != Right {
		return Identity{}, came
	}
	return who, Right
}

// bearerOf returns a request's bearer token; empty if it has other credentials.
func bearerOf(r *http.Request) (given string, has bool) {
	header := r.Header.Get("Authorization")
	scheme, given, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		given = ""
	}
	return strings.TrimSpace(given), header != ""
}

// secret is what a given credential is compared with.
type secret interface {
	// matches reports whether the credential is right.
	matches(given string) bool
	// strong reports whether nobody can guess it.
	strong() bool
}

// plain is a secret in plain text; empty if nobody has it.
type plain string

func (p plain) matches(given string) bool { return Equal(given, string(p)) }
func (p plain) strong() bool              { return Strong(string(p)) }

// check compares a given credential with the secret. A strong secret is compared before any throttle, so that guesses cannot lock out its
// owner. A secret that could be guessed is not compared at all after too many failures of the client.
func (c *checker) check(r *http.Request, credential string, wanted secret, given string) Outcome {
	key := credential + " " + clientOf(r)
	strong := wanted.strong()
	if strong && wanted.matches(given) {
		return Right
	}
	switch {
	case c.throttled(credential, key):
		c.tell(r, credential, true)
		return Throttled
	case !strong && wanted.matches(given):
		c.remember(key)
		return Right
	default:
		c.failed(credential, key)
		c.tell(r, credential, false)
		return wrong
	}
}

func (c *checker) tell(r *http.Request, credential string, throttled bool) {
	telemetry.Tell(r.Context(), c.listeners, AccessRefuse{
		Credential: credential, Client: clientOf(r), Throttled: throttled,
	})
}

// Throttled reports whether a client has failed too often to be checked. The limit over all clients does not apply to a client that has given the
// right credential before.
func (c *checker) throttled(credential, key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock.Now()
	limiter, all := c.clients[key], c.all[credential]
	return limiter != nil && limiter.TokensAt(now) < 1 || all != nil && !c.known[key] && all.TokensAt(now) < 1
}

// remember records that a client has given the right credential.
func (c *checker) remember(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= clientsKept {
		clear(c.known)
	}
	c.known[key] = true
}

// failed counts a failure.
func (c *checker) failed(credential, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock.Now()
	limiter, all := c.clients[key], c.all[credential]
	if limiter == nil {
		if len(c.clients) >= clientsKept {
			clear(c.clients) // The limit over all clients still applies.
		}
		limiter = rate.NewLimiter(rate.Every(6*time.Second), failuresPerClient)
		c.clients[key] = limiter
	}
	if all == nil {
		all = rate.NewLimiter(rate.Every(time.Second), failuresOfAll)
		c.all[credential] = all
	}
	limiter.AllowN(now, 1)
	all.AllowN(now, 1)
}

// clientOf returns the client's address as far as it is known: a platform's proxy appends the address that it saw. For IPv6 it is the /64
// network, because one client owns all of its addresses.
func clientOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	forwarded := r.Header.Values("X-Forwarded-For")
	if len(forwarded) == 0 {
		return network(host)
	}
	last := forwarded[len(forwarded)-1]
	return network(host) + " for " + network(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]))
}

func network(text string) string {
	address, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return "unknown"
	case address.Is4() || address.Is4In6():
		return address.Unmap().String()
	default:
		const bits = 64
		prefix, err := address.WithZone("").Prefix(bits)
		if err != nil { // Cannot happen: an IPv6 address has more than 64 bits.
			return "unknown"
		}
		return prefix.String()
	}
}
