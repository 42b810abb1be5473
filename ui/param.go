package ui

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/daymill/daymill/internal/date"
)

// longestText limits a text filter, in bytes.
const longestText = 200

func parseRange(from, to string) (date.Range, error) {
	first, err := date.Parse(shortened(from, 30))
	if err != nil {
		return date.Range{}, err
	}
	last, err := date.Parse(shortened(to, 30))
	if err != nil {
		return date.Range{}, err
	}
	if first.Before(date.New(1, time.January, 1)) {
		return date.Range{}, errors.New("dates start with the year 1")
	}
	return date.NewRange(first, last)
}

// pathID returns the number in a page's path.
func pathID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return 0, errNotFound
	}
	return id, nil
}
