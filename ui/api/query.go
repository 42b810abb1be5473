package api

import (
	"context"
	"errors"
	"net/url"
	"strconv"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/ui/door"
)

// via returns the caller, for the audit.
func via(ctx context.Context) audit.Who {
	return audit.Who{Actor: door.User(ctx), Via: audit.ViaAPI}
}

// number reads a number from 1 to most from a query; usual if it is missing.
func number(query url.Values, name string, usual, most int) (int, error) {
	value := query.Get(name)
	if value == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > most {
		return 0, unprocessable(errors.New(name + " must be a number from 1 to " + strconv.Itoa(most)))
	}
	return n, nil
}

// limitOf reads a call's limit.
func limitOf(query url.Values) (int, error) { return number(query, "limit", apiDates, apiMostDates) }

// pageOf reads a call's limit, and the position that an earlier call returned; 0 if there is none.
func pageOf(query url.Values) (limit int, cursor int64, err error) {
	if limit, err = limitOf(query); err != nil {
		return 0, 0, err
	}
	value := query.Get("cursor")
	if value == "" {
		return limit, 0, nil
	}
	if cursor, err = strconv.ParseInt(value, 10, 64); err != nil || cursor < 1 {
		return 0, 0, unprocessable(errors.New("the cursor was not returned by an earlier call"))
	}
	return limit, cursor, nil
}

// nextCursor writes a position for the next call.
func nextCursor(position int64) *string {
	text := strconv.FormatInt(position, 10)
	return &text
}
