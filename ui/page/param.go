package page

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/ui/format"
)

// LongestText is the maximum length of a text filter, in bytes.
const LongestText = 200

// ParseRange reads a first and a last date. Its errors are sentences for the user.
func ParseRange(from, to string) (date.Range, error) {
	first, err := date.Parse(format.Shortened(from, 30))
	if err != nil {
		return date.Range{}, err
	}
	last, err := date.Parse(format.Shortened(to, 30))
	if err != nil {
		return date.Range{}, err
	}
	if first.Before(date.New(1, time.January, 1)) {
		return date.Range{}, errors.New("dates start with the year 1")
	}
	return date.NewRange(first, last)
}

// PathID returns the number in a page's path.
func PathID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return 0, ErrNotFound
	}
	return id, nil
}
