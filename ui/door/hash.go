package door

import (
	"crypto/hmac"
	"crypto/sha256"

	"golang.org/x/crypto/bcrypt"
)

// nobody is a bcrypt hash of a password that nobody knows: 32 random bytes that were discarded. Its cost is hashCost.
const nobody = "$2a$12$JB/AeSXoYHscly/VBtYibec2YxFQ2LMgkjFDMdxTzfMvlad4Gl3Se"

// hash is a secret whose bcrypt hash alone is known.
type hash string

func (h hash) matches(given string) bool {
	return len(given) <= longestPassword && bcrypt.CompareHashAndPassword([]byte(h), []byte(given)) == nil
}

// strong returns false, because the strength of the password is not known.
func (hash) strong() bool { return false }

// known is a secret whose right credential was seen before.
type known struct{ secret }

func (known) matches(string) bool { return true }
func (known) strong() bool        { return true }

// learning is a hash that remembers the passwords that matched.
type learning struct {
	secret

	checker *checker
	key     [sha256.Size]byte
}

func (l learning) matches(given string) bool {
	if !l.secret.matches(given) {
		return false
	}
	l.checker.mu.Lock()
	defer l.checker.mu.Unlock()
	if len(l.checker.hashed) >= clientsKept {
		clear(l.checker.hashed)
	}
	l.checker.hashed[l.key] = true
	return true
}

// remembered returns the secret to compare a password with: after a password has matched a hash once, this process knows it again without bcrypt,
// which would cost a quarter of a second for each request with basic credentials. It keeps a keyed hash of the password and no password.
func (c *checker) remembered(name, given string, wanted secret) secret {
	if _, is := wanted.(hash); !is {
		return wanted
	}
	mac := hmac.New(sha256.New, c.key)
	for _, part := range []string{name, given} {
		digest := sha256.Sum256([]byte(part))
		mac.Write(digest[:])
	}
	key := [sha256.Size]byte(mac.Sum(nil))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hashed[key] {
		return known{wanted}
	}
	return learning{wanted, c, key}
}
