package telemetry

import "log/slog"

// AccessRefuse says that a request over HTTP had wrong credentials, or was refused because its client had sent wrong ones
// too often. No field has the credentials that were sent.
type AccessRefuse struct {
	Credential string // password, api_token, cron_secret or metrics_token
	Client     string // the client's address, and the one that a proxy names
	Throttled  bool   // the credentials were not checked
}

// Name returns access_refuse.
func (AccessRefuse) Name() string { return "access_refuse" }

// Attrs returns the event's fields.
func (e AccessRefuse) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("credential", e.Credential), slog.String("client", e.Client), slog.Bool("throttled", e.Throttled),
	}
}
