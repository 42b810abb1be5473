package ui

import (
	"context"
	"net/url"
	"strings"

	"github.com/a-h/templ"
)

// link returns the URL path of a page: the base path and the parts, each escaped.
func link(base string, parts ...string) string {
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

// to returns the URL of a page, for templates.
func to(ctx context.Context, parts ...string) templ.SafeURL {
	return templ.SafeURL(link(scopeOf(ctx).base, parts...))
}

// toQuery returns the URL of a page with a query.
func toQuery(ctx context.Context, query url.Values, parts ...string) templ.SafeURL {
	if len(query) == 0 {
		return to(ctx, parts...)
	}
	return templ.SafeURL(link(scopeOf(ctx).base, parts...) + "?" + query.Encode())
}
