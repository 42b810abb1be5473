package page

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"strconv"

	"github.com/a-h/templ"

	"github.com/daymill/daymill/ui/format"
)

// Cursor is a position in a list ordered by id; zero is the beginning.
type Cursor struct{ Before, After int64 }

// CursorOf reads a position from a query.
func CursorOf(query url.Values) (Cursor, error) {
	var at Cursor
	for name, id := range map[string]*int64{"before": &at.Before, "after": &at.After} {
		text := query.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 || n == 1<<63-1 {
			return Cursor{}, Mistake(fmt.Errorf("%q is not a place in the list: follow a link on the page", format.Shortened(text, 40)))
		}
		*id = n
	}
	return at, nil
}

// Query returns a copy of a filter's query with the position added.
func (at Cursor) Query(filter url.Values) url.Values {
	query := url.Values{}
	maps.Copy(query, filter)
	if at.Before != 0 {
		query.Set("before", strconv.FormatInt(at.Before, 10))
	}
	if at.After != 0 {
		query.Set("after", strconv.FormatInt(at.After, 10))
	}
	return query
}

// Neighbours are the URLs of the pages beside a page of a list; empty if there is none.
type Neighbours struct {
	Newer, Older templ.SafeURL
	// OlderLabel is the text of the link to Older; "Older" if empty.
	OlderLabel string
	// Unfinished reports that the search reached its limit before the page was full.
	Unfinished bool
}

// ByID returns the neighbours of a page of a list ordered by id. A zero cursor means that there is none.
func ByID(ctx context.Context, filter url.Values, newer, older Cursor, parts ...string) Neighbours {
	var beside Neighbours
	if newer != (Cursor{}) {
		beside.Newer = ToQuery(ctx, newer.Query(filter), parts...)
	}
	if older != (Cursor{}) {
		beside.Older = ToQuery(ctx, older.Query(filter), parts...)
	}
	return beside
}

// ByQuery returns the neighbours of a page of a list that has its own order, by their queries; nil if there is none.
func ByQuery(ctx context.Context, newer, older url.Values, parts ...string) Neighbours {
	var beside Neighbours
	if newer != nil {
		beside.Newer = ToQuery(ctx, newer, parts...)
	}
	if older != nil {
		beside.Older = ToQuery(ctx, older, parts...)
	}
	return beside
}
