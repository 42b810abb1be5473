package telemetry

import "log/slog"

// AccessRefuse says that a request over HTTP had wrong credentials, or was not heard because its client had sent wrong ones
// too often. What was sent is in no field.
type AccessRefuse struct {
	Credential string // password, api_token, cron_secret or metrics_token
	Client     string // the address, and the one that a proxy names
	Throttled  bool   // the credentials were not looked at
}

// Name is access_refuse.
func (AccessRefuse) Name() string { return "access_refuse" }

// Attrs are its fields.
func (e AccessRefuse) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("credential", e.Credential), slog.String("client", e.Client), slog.Bool("throttled", e.Throttled),
	}
}
