package capture

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// changesView is a page of the log.
type changesView struct {
	Databases                       []string
	Database, Table, Key, Op, Until string
	Ops                             []string
	Changes                         []change.Change
	Beside                          page.Neighbours
	Wrong                           string // what is wrong with the filter
	Row                             bool   // it is the history of one row
	Filtered                        bool
}

// changeFilter reads a filter from a form.
func changeFilter(given url.Values, sc page.Scope) (log.Filter, changesView, error) {
	var filter log.Filter
	view := changesView{Ops: ops()}
	var err error
	for name, into := range map[string]*string{"database": &view.Database, "table": &view.Table, "key": &view.Key, "op": &view.Op, "until": &view.Until} {
		if *into, err = typed(given, name, longestKey); err != nil {
			return filter, view, err
		}
	}
	view.Filtered = view.Table+view.Key+view.Op+view.Until != ""
	if filter, err = ParseFilter(view.Table, view.Key, view.Op); err != nil {
		return filter, view, page.Mistake(err)
	}
	view.Row = filter.Key != "" && view.Table != ""
	if view.Until != "" {
		if filter.Until, err = instant(view.Until, sc.Zone); err != nil {
			return filter, view, err
		}
	}
	return filter, view, nil
}

// ops are the operations that a person can filter changes by.
func ops() []string {
	return []string{string(change.Insert), string(change.Update), string(change.Delete), string(change.Truncate)}
}

// ParseFilter parses what a person searches for: a table with or without its schema, a key or the value of one of its columns, and an
// operation. Each may be empty.
func ParseFilter(table, key, op string) (filter log.Filter, err error) {
	if op != "" && !slices.Contains(ops(), op) {
		return filter, fmt.Errorf("there is no operation %q: it is one of %s", format.Shortened(op, 40), strings.Join(ops(), ", "))
	}
	filter.Op = op
	if schema, name, qualified := strings.Cut(table, "."); qualified {
		filter.Schema, filter.Table = schema, name
	} else {
		filter.Table = table
	}
	switch {
	case !strings.HasPrefix(key, "{"):
		filter.KeyValue = key
	case !json.Valid([]byte(key)):
		return filter, errors.New(`the key is not JSON: give a value such as 42, or an object such as {"id": 42}`)
	default:
		filter.Key = key
	}
	return filter, nil
}

// instant parses the value of a datetime field, in the reporting zone.
func instant(text string, zone *time.Location) (time.Time, error) {
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02T15:04:05.999"} {
		if at, err := time.ParseInLocation(layout, text, zone); err == nil {
			return at, nil
		}
	}
	return time.Time{}, page.Mistake(fmt.Errorf("%q is not a time: give one such as 2026-03-01T10:00", format.Shortened(text, 40)))
}

// query returns the filter's query.
func (v changesView) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{"database": v.Database, "table": v.Table, "key": v.Key, "op": v.Op, "until": v.Until} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

func (s *Pages) showChanges(w http.ResponseWriter, r *http.Request) error {
	ctx, given := r.Context(), r.URL.Query()
	filter, view, err := changeFilter(given, page.ScopeOf(ctx))
	if view.Wrong = page.Wrong(err); err != nil && view.Wrong == "" {
		return err
	}
	at, err := page.CursorOf(given)
	if err != nil {
		return err
	}
	var found log.Page
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		if view.Databases, err = stream.Names(ctx, on); err != nil {
			return err
		}
		if view.Database == "" && len(view.Databases) > 0 {
			view.Database = view.Databases[0]
		}
		if view.Database == "" || view.Wrong != "" {
			return nil
		}
		found, err = log.Log{}.List(ctx, on, view.Database, filter, log.Place(at), rowsPerPage)
		return err
	})
	switch {
	case errors.Is(err, log.ErrNoStream), errors.Is(err, log.ErrKey):
		view.Wrong = page.Wrong(page.Mistake(err))
	case err != nil:
		return err
	}
	view.Changes = found.Changes
	view.Beside = page.ByID(ctx, view.query(), page.Cursor(found.Newer), page.Cursor(found.Older), "changes")
	view.Beside.Unfinished = found.Unfinished
	return s.Render(w, r, page.StatusOf(view.Wrong), "Changes", changesPage(view))
}

// changeView is the page of one change.
type changeView struct {
	change.Change

	ID            string
	Keyed         string
	Before, After string // the row
	Letter        string // the consumer that did not accept the change; empty on the page of the log
}

func newChangeView(c change.Change) changeView {
	return changeView{Change: c, ID: id(c.Position), Keyed: payload(c.Key), Before: payload(c.Old), After: payload(c.New)}
}

func (s *Pages) showChange(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	database, err := named(r, "database")
	if err != nil {
		return err
	}
	position, err := page.PathID(r)
	if err != nil {
		return err
	}
	var c change.Change
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		c, err = log.Log{}.Get(ctx, on, database, position)
		return err
	})
	if errors.Is(err, log.ErrNoChange) || errors.Is(err, log.ErrNoStream) {
		return page.ErrNotFound
	}
	if err != nil {
		return err
	}
	return s.Render(w, r, http.StatusOK, "Change "+id(position), changePage(newChangeView(c)))
}
