package page

import (
	"context"
	"net/url"
	"strings"

	"github.com/a-h/templ"
)

// Link returns the URL path of a page: the base path and the parts, each escaped.
func Link(base string, parts ...string) string {
	var address strings.Builder
	address.WriteString(base)
	for _, part := range parts {
		address.WriteByte('/')
		address.WriteString(url.PathEscape(part))
	}
	if len(parts) == 0 {
		address.WriteByte('/')
	}
	return address.String()
}

// To returns the URL of a page, for templates.
func To(ctx context.Context, parts ...string) templ.SafeURL {
	return templ.SafeURL(Link(ScopeOf(ctx).base, parts...))
}

// ToQuery returns the URL of a page with a query.
func ToQuery(ctx context.Context, query url.Values, parts ...string) templ.SafeURL {
	if len(query) == 0 {
		return To(ctx, parts...)
	}
	return templ.SafeURL(Link(ScopeOf(ctx).base, parts...) + "?" + query.Encode())
}
