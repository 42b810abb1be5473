// Package capture shows what is captured and who receives it: streams, consumers, changes and dead letters.
package capture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/a-h/templ"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

const (
	rowsPerPage = 50
	// mostPayload is how many characters of a payload a page shows.
	mostPayload = 20_000
	// longestKey is the maximum length of a key in the filter, in bytes.
	longestKey = 2_000
)

// Pages are the pages of capture.
type Pages struct {
	*page.Site

	pace meter
}

// Places returns the entry of the navigation.
func (*Pages) Places() []page.Place {
	return []page.Place{{Name: "Capture", Path: "capture", Also: []string{"consumers", "changes", "deadletters"}}}
}

// Route adds the pages to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	mux.Handle("GET /capture", s.Page(s.showStreams))
	mux.Handle("POST /capture", s.Page(s.captureTables))
	mux.Handle("POST /capture/snapshots/{id}", s.Page(s.changeSnapshot))
	mux.Handle("GET /consumers", s.Page(s.showConsumers))
	mux.Handle("POST /consumers", s.Page(s.addSink))
	mux.Handle("GET /consumers/{name}", s.Page(s.showConsumer))
	mux.Handle("POST /consumers/{name}", s.Page(s.changeConsumer))
	mux.Handle("GET /changes", s.Page(s.showChanges))
	mux.Handle("GET /changes/{database}/{id}", s.Page(s.showChange))
	mux.Handle("GET /deadletters", s.Page(s.showGroups))
	mux.Handle("GET /deadletters/{name}", s.Page(s.showLetters))
	mux.Handle("POST /deadletters/{name}", s.Page(s.changeLetters))
	mux.Handle("GET /deadletters/{name}/{id}", s.Page(s.showLetter))
}

// tab is a page of capture.
type tab struct{ name, path string }

func tabs() []tab {
	return []tab{{"Streams", "capture"}, {"Consumers", "consumers"}, {"Changes", "changes"}, {"Dead letters", "deadletters"}}
}

// who returns the user of a request, for the audit.
func who(r *http.Request) audit.Who {
	return audit.Who{Actor: door.User(r.Context()), Via: audit.ViaWeb}
}

// typed reads a text of the filter. Postgres accepts neither NUL nor invalid UTF-8.
func typed(query url.Values, name string, most int) (string, error) {
	value := strings.TrimSpace(query.Get(name))
	if len(value) > most || strings.ContainsRune(value, 0) || !utf8.ValidString(value) {
		return "", page.Mistake(errors.New("the filter has an invalid " + name + ": choose another"))
	}
	return value, nil
}

// named returns the name in a page's path.
func named(r *http.Request, part string) (string, error) {
	name := r.PathValue(part)
	if len(name) > page.LongestText || strings.ContainsRune(name, 0) || !utf8.ValidString(name) {
		return "", page.ErrNotFound
	}
	return name, nil
}

// payload formats JSON for people, and truncates it if it is long.
func payload(document json.RawMessage) string {
	if len(document) == 0 {
		return ""
	}
	var indented bytes.Buffer
	if json.Indent(&indented, document, "", "  ") != nil {
		return format.Shortened(string(document), mostPayload)
	}
	return format.Shortened(indented.String(), mostPayload)
}

// values returns the row of a change, for one cell.
func values(c change.Change) string {
	document := c.New
	if len(document) == 0 {
		document = c.Old
	}
	return format.Shortened(string(document), 200)
}

// history returns the URL of the changes of a change's row.
func history(ctx context.Context, c change.Change) templ.SafeURL {
	return page.ToQuery(ctx, url.Values{"database": {c.Stream}, "table": {c.Schema + "." + c.Table}, "key": {string(c.Key)}}, "changes")
}

func id(n int64) string { return strconv.FormatInt(n, 10) }

// megabytes writes a number of bytes.
func megabytes(n int64) string {
	switch {
	case n < 1<<20:
		return format.Number((n+1023)>>10) + " KiB"
	case n < 1<<30:
		return format.Number(n>>20) + " MiB"
	default:
		return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) + " GiB"
	}
}

// perSecond writes a rate.
func perSecond(rate float64) string {
	switch {
	case rate <= 0:
		return "0/s"
	case rate < 10:
		return strconv.FormatFloat(rate, 'f', 1, 64) + "/s"
	default:
		return format.Number(int64(rate+0.5)) + "/s"
	}
}
