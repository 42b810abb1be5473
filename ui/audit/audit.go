// Package audit lists who did what.
package audit

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/a-h/templ"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/text"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

const auditPerPage = 50

// Pages is the list of what people changed.
type Pages struct {
	*page.Site
}

// Places returns the entry of the navigation.
func (*Pages) Places() []page.Place { return []page.Place{{Name: "Audit", Path: "audit"}} }

// Route adds the pages to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	mux.Handle("GET /audit", s.Page(s.showAudit))
}

// auditView is a page of audit entries.
type auditView struct {
	filter audit.Filter
	fields []auditField
	rows   []auditRow
	beside page.Neighbours
}

// auditField is one select of the filter, with its options.
type auditField struct {
	name, label, value string
	words              []auditWord
}

type auditWord struct{ value, text string }

type auditRow struct {
	audit.Done

	via     string
	words   string
	address templ.SafeURL // the target's page; empty if it has none
}

func (s *Pages) showAudit(w http.ResponseWriter, r *http.Request) error {
	ctx, given := r.Context(), r.URL.Query()
	filter := audit.Filter{Actor: given.Get("actor"), Via: given.Get("via"), Action: given.Get("action")}
	for _, value := range []string{filter.Actor, filter.Via, filter.Action} {
		if len(value) > page.LongestText || strings.ContainsRune(value, 0) || !utf8.ValidString(value) {
			return page.Mistake(errors.New("the filter has an invalid word: choose another"))
		}
	}
	at, err := page.CursorOf(given)
	if err != nil {
		return err
	}
	var listed audit.Page
	var words audit.Words
	err = s.DB.Read(ctx, func(on postgres.DBTX) (err error) {
		listed, err = audit.List(ctx, on, filter, at.Before, at.After, auditPerPage)
		if err == nil && at.After != 0 && listed.Newer == 0 && len(listed.Entries) < auditPerPage {
			listed, err = audit.List(ctx, on, filter, 0, 0, auditPerPage) // Show the first page in full.
		}
		if err == nil {
			words, err = audit.ListWords(ctx, on)
		}
		return err
	})
	if err != nil {
		return err
	}
	view := auditView{filter: filter, fields: []auditField{
		newAuditField("actor", "Who", filter.Actor, words.Actors, func(word string) string { return format.Shortened(word, 40) }),
		newAuditField("action", "What", filter.Action, words.Actions, func(word string) string { return format.Shortened(word, 40) }),
		newAuditField("via", "From where", filter.Via, words.Vias, viaText),
	}}
	query := auditQuery(filter)
	view.beside = page.ByID(ctx, query, page.Cursor{After: listed.Newer}, page.Cursor{Before: listed.Older}, "audit")
	view.beside.Unfinished = listed.Unfinished
	for _, entry := range listed.Entries {
		row := auditRow{Done: entry, via: viaText(entry.Via), words: detailWords(entry.Detail)}
		if parts := auditPlace(entry.Entry); parts != nil {
			row.address = page.To(ctx, parts...)
		}
		view.rows = append(view.rows, row)
	}
	return s.Render(w, r, http.StatusOK, "Audit", auditPage(view))
}

func newAuditField(name, label, value string, words []string, text func(string) string) auditField {
	field := auditField{name: name, label: label, value: value}
	if value != "" && !slices.Contains(words, value) {
		words = append(words, value)
	}
	for _, word := range words {
		field.words = append(field.words, auditWord{value: word, text: text(word)})
	}
	return field
}

func auditQuery(filter audit.Filter) url.Values {
	query := url.Values{}
	for name, value := range map[string]string{"actor": filter.Actor, "via": filter.Via, "action": filter.Action} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

// viaText says where an action came from.
func viaText(via string) string {
	switch via {
	case "web":
		return "this page"
	case "api":
		return "the API"
	case "cli":
		return "the command line"
	case "cron":
		return "a cron call"
	case "go":
		return "the application, in Go"
	case "sql":
		return "SQL"
	case "river":
		return "a River job"
	case "schedule":
		return "the schedule"
	case "verify":
		return "a verification"
	case "import":
		return "an import"
	case "watch":
		return "triggers on the source"
	case "backfill":
		return "a backfill"
	default:
		return format.Shortened(via, 40)
	}
}

// auditPlace returns the path of the target's page; nil if it has none.
func auditPlace(entry audit.Entry) []string {
	_, noun, _ := strings.Cut(entry.Action, " ")
	number, err := strconv.ParseInt(entry.Target, 10, 64)
	isNumber := err == nil && number > 0
	switch {
	case noun == "job" && isNumber && entry.Action != "delete job":
		return []string{"jobs", entry.Target}
	case noun == "backfill" && isNumber:
		return []string{"backfills", entry.Target}
	case noun == "dates" && len(entry.Target) == len("2026-03-01"):
		return []string{"dates", entry.Target}
	default:
		return nil
	}
}

const detailPartsShown = 12

// detailWords writes an entry's detail as words: kind rollup_day, 12 dates. Nested values are written as JSON.
func detailWords(detail map[string]any) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(detail)) {
		if len(parts) == detailPartsShown {
			parts = append(parts, "…")
			break
		}
		label := strings.ReplaceAll(format.Shortened(name, 40), "_", " ")
		switch value := detail[name].(type) {
		case nil:
		case bool:
			if value {
				parts = append(parts, label)
			} else {
				parts = append(parts, "not "+label)
			}
		case float64:
			parts = append(parts, counted(value, label))
		case string:
			if value != "" {
				parts = append(parts, label+" "+format.Shortened(value, 120))
			}
		default:
			encoded, err := text.Encode(value)
			if err != nil {
				encoded = fmt.Sprint(value)
			}
			parts = append(parts, label+" "+format.Shortened(encoded, 120))
		}
	}
	return strings.Join(parts, ", ")
}

// counted writes a number and what it counts: 1 date, 12 dates, 3 skipped, in flight 2, pause seconds 0.5.
func counted(value float64, label string) string {
	whole := value == float64(int64(value))
	switch {
	case whole && slices.Contains([]string{"dates", "jobs", "events", "entities", "migrations"}, label):
		noun := strings.TrimSuffix(label, "s")
		if label == "entities" {
			noun = "entity"
		}
		return format.Plural(int64(value), noun)
	case whole && slices.Contains([]string{"retried", "cancelled", "deleted", "skipped"}, label):
		return format.Number(int64(value)) + " " + label
	case whole:
		return label + " " + format.Number(int64(value))
	default:
		return label + " " + strconv.FormatFloat(value, 'g', 6, 64)
	}
}
