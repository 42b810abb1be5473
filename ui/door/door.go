// Package door controls access: users and tokens, limits on wrong credentials, hosts, origins, and the size of requests. It sets the headers of
// every response.
package door

import (
	"log/slog"

	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/telemetry"
)

// Config configures a door.
type Config struct {
	Access Access
	// BasePath is the path at which a proxy serves the pages, such as /daymill; empty at the root.
	BasePath string
	Logger   *slog.Logger
	Clock    pace.Clock
	// Listeners receive a signal for wrong credentials.
	Listeners telemetry.Listeners
	// SessionKey signs sessions, together with the secrets of Access. It is the same in all web processes of an installation.
	SessionKey []byte
}

// Door controls access to the pages and the API.
type Door struct {
	Config
	*checker

	sessions *sessions
}

// New returns a door.
func New(config Config) *Door {
	return &Door{
		Config: config, checker: newChecker(config.Access, config.Clock, config.Listeners),
		sessions: newSessions(config.SessionKey, config.Access, config.BasePath),
	}
}
