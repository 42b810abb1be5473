package page

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strconv"

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

// PageID reads the id at which a page of a list starts; 0 if none is given.
func PageID(query url.Values, name string) (int64, error) {
	text := query.Get(name)
	if text == "" {
		return 0, nil
	}
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, Mistake(errors.New("this page of the list does not exist"))
	}
	return id, nil
}
