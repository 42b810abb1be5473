package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/postgres"
	capturepage "github.com/daymill/daymill/ui/capture"
	"github.com/daymill/daymill/ui/page"
	"github.com/daymill/daymill/ui/reply"
)

// appDatabase is the default database.
const appDatabase = "app"

// longestKey is the maximum length of a key or a table in a filter, in bytes.
const longestKey = 2_000

var errNoChange = apiError{http.StatusNotFound, "The log has no change at this position: it never had one, or its retention is over."}

type changesAnswer struct {
	Changes []json.RawMessage `json:"changes"`
	// NextCursor is the cursor for the next call; null at the beginning of the log.
	NextCursor *string `json:"next_cursor"`
}

// apiListChanges lists changes of the log, newest first. A call searches a bounded part of the log, so an answer may have few changes or
// none, and still a cursor.
func (s *API) apiListChanges(w http.ResponseWriter, r *http.Request) error {
	ctx, query := r.Context(), r.URL.Query()
	for _, name := range []string{"database", "table", "key"} {
		if value := query.Get(name); len(value) > longestKey || !storable(value) {
			return unprocessable(errors.New(name + " must be UTF-8 of 2000 bytes at most"))
		}
	}
	filter, err := capturepage.ParseFilter(query.Get("table"), query.Get("key"), query.Get("op"))
	if err != nil {
		return unprocessable(err)
	}
	if value := query.Get("until"); value != "" {
		if filter.Until, err = time.Parse(time.RFC3339Nano, value); err != nil {
			return unprocessable(errors.New("until must be an instant such as 2026-03-01T10:00:00Z"))
		}
	}
	limit, before, err := pageOf(query)
	if err != nil {
		return err
	}
	database := query.Get("database")
	if database == "" {
		database = appDatabase
	}
	var found log.Page
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		found, err = log.Log{}.List(ctx, on, database, filter, log.Place{Before: before}, limit)
		return err
	})
	if errors.Is(err, log.ErrNoStream) || errors.Is(err, log.ErrKey) {
		return unprocessable(err)
	}
	if err != nil {
		return err
	}
	answer := changesAnswer{Changes: make([]json.RawMessage, len(found.Changes))}
	for i, c := range found.Changes {
		if answer.Changes[i], err = sink.Document(c); err != nil {
			return err
		}
	}
	if found.Older.Before > 0 {
		answer.NextCursor = nextCursor(found.Older.Before)
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// apiShowChange returns the change at a position.
func (s *API) apiShowChange(w http.ResponseWriter, r *http.Request) error {
	ctx, database := r.Context(), r.PathValue("database")
	position, err := apiID(r, "change")
	if err != nil {
		return err
	}
	if !storable(database) || len(database) > page.LongestText {
		return errNoChange
	}
	var c change.Change
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		c, err = log.Log{}.Get(ctx, on, database, position)
		return err
	})
	if errors.Is(err, log.ErrNoChange) || errors.Is(err, log.ErrNoStream) {
		return errNoChange
	}
	if err != nil {
		return err
	}
	document, err := sink.Document(c)
	if err != nil {
		return err
	}
	reply.JSON(w, "application/json", http.StatusOK, json.RawMessage(document))
	return nil
}
