package page

import (
	"net/http"
	"strconv"
)

// LongestText is the maximum length of a text filter, in bytes.
const LongestText = 200

// PathID returns the number in a page's path.
func PathID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return 0, ErrNotFound
	}
	return id, nil
}
