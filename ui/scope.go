package ui

import (
	"context"
	"net/http"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/daymill/daymill/internal/date"
)

// scope is what every template knows about its request.
type scope struct {
	base     string
	user     string
	path     string // without the base path
	zone     *time.Location
	zoneName string
	now      time.Time
	today    date.Date
	asset    func(name string) string
	open     bool // no login is needed
	notice   string
}

type scopeKey struct{}

func scopeOf(ctx context.Context) scope {
	sc, _ := ctx.Value(scopeKey{}).(scope)
	return sc
}

// scoped adds the scope to a request's context.
func (s *site) scoped(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := s.Clock.Now()
		sc := scope{
			base: s.BasePath, user: userOf(r.Context()), path: r.URL.Path,
			zone: s.Installation.Zone, zoneName: s.Installation.TimeZone,
			now: now, today: date.Of(now, s.Installation.Zone),
			asset: s.assets.address(s.BasePath), open: s.Access.Open(), notice: noticeText(r.URL.Query()),
		}
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), scopeKey{}, sc), pageTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// canChange reports whether the page shows forms that change something.
func canChange(ctx context.Context) bool { return scopeOf(ctx).user == adminUser }

// instant formats a time in the reporting zone, with the zone's abbreviation at that time.
func (sc scope) instant(t time.Time) string { return t.In(sc.zone).Format("2006-01-02 15:04:05 MST") }

// short formats a time in the reporting zone without seconds and zone, for narrow columns whose heading names the zone.
func (sc scope) short(t time.Time) string { return t.In(sc.zone).Format("2006-01-02 15:04") }

// relative formats how long ago a time was, or how soon it will be.
func (sc scope) relative(t time.Time) string {
	if gap := sc.now.Sub(t); gap > -time.Second && gap < time.Second {
		return "now"
	}
	return humanize.RelTime(t, sc.now, "ago", "from now")
}
