package page

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/ui/door"
)

// Scope is what every template knows about its request.
type Scope struct {
	base     string
	who      door.Identity
	path     string // without the base path
	Zone     *time.Location
	ZoneName string
	Now      time.Time
	Today    date.Date
	asset    func(name string) string
	open     bool // no login is needed
	session  bool // the user has logged in on the login page
	notice   string
	halt     string // what prevents requested work; empty if nothing does, or if the page itself says so
	places   []Place
}

type scopeKey struct{}

// ScopeOf returns the scope of a request.
func ScopeOf(ctx context.Context) Scope {
	sc, _ := ctx.Value(scopeKey{}).(Scope)
	return sc
}

// haltKept is how long all pages use the same answer about what prevents requested work.
const haltKept = 2 * time.Second

// sayThemselves are the paths of pages that show what prevents requested work in their own content.
var sayThemselves = []string{"/", "/schedule"} //nolint:gochecknoglobals // A table.

// Scoped adds the scope to a request's context.
func (s *Site) Scoped(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := s.Clock.Now()
		sc := Scope{
			base: s.BasePath, who: door.Who(r.Context()), path: r.URL.Path,
			Zone: s.Installation.Zone, ZoneName: s.Installation.TimeZone,
			Now: now, Today: date.Of(now, s.Installation.Zone),
			asset: s.Asset, open: s.Open, session: !s.Open && r.Header.Get("Authorization") == "", places: s.Places,
		}
		ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
		defer cancel()
		if sc.notice = s.takeNotice(w, r); isWhole(r) && sc.who.Name != "" {
			halt := s.halt.Get(ctx, s, haltKept, s.Jobs.Halt).Sentence()
			sc.notice = unlessHalted(sc.notice, halt)
			if !slices.Contains(sayThemselves, r.URL.Path) {
				sc.halt = halt
			}
		}
		ctx = context.WithValue(ctx, scopeKey{}, sc)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// CanChange reports whether the page shows forms that change something.
func CanChange(ctx context.Context) bool { return ScopeOf(ctx).who.Role.MayChange() }

// CanErase reports whether the page shows forms that erase metrics.
func CanErase(ctx context.Context) bool { return ScopeOf(ctx).who.Role.MayErase() }

// IsAdmin reports whether the user is an admin.
func IsAdmin(ctx context.Context) bool { return ScopeOf(ctx).who.Role == door.Admin }

// Instant formats a time in the reporting zone, with the zone's abbreviation at that time.
func (sc Scope) Instant(t time.Time) string { return t.In(sc.Zone).Format("2006-01-02 15:04:05 MST") }

// Short formats a time in the reporting zone without seconds and zone, for narrow columns whose heading names the zone.
func (sc Scope) Short(t time.Time) string { return t.In(sc.Zone).Format("2006-01-02 15:04") }

// Relative formats how long ago a time was, or how soon it will be.
func (sc Scope) Relative(t time.Time) string {
	if gap := sc.Now.Sub(t); gap > -time.Second && gap < time.Second {
		return "now"
	}
	return humanize.RelTime(t, sc.Now, "ago", "from now")
}

// ErrMayNotErase means that the user's role may not erase metrics.
var ErrMayNotErase = Mistake(errors.New("your role may not erase metrics, and nothing was changed: ask an admin"))
