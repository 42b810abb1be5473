// Package attention has the page of dates that need a person. It groups them by what is wrong, and requests
// them in bulk.
package attention

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/a-h/templ"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// Pages is the page of dates that need attention.
type Pages struct {
	*page.Site
}

// Places returns the entry of the navigation.
func (*Pages) Places() []page.Place { return []page.Place{{Name: "Attention", Path: "attention"}} }

// Route adds the page to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	mux.Handle("GET /attention", s.Page(s.showAttention))
	mux.Handle("POST /attention", s.Page(s.requestGroup))
}

// rowsShown is how many dates of a group the page lists.
const rowsShown = 100

// attentionView has what the page shows.
type attentionView struct {
	Groups []groupView
	More   bool // there are more dates than the page groups
	Sort   string
}

// groupView is a group of dates with the same problem.
type groupView struct {
	ledger.TroubleGroup

	ID    string // stable across requests: see idOf
	Rows  []ledger.Trouble
	Left  int    // dates that are not listed
	Label string // of the button that requests the dates
}

// column is a column that the tables can be sorted by.
type column struct{ Name, Label, Class string }

func columns() []column {
	return []column{{"date", "Date", ""}, {"ended", "Last run ended", ""}, {"events", "Events", "num"}, {"drifted", "Entities drifted", "num"}, {"lost", "Events lost", "num"}}
}

// has reports whether a group's table has a column.
func (g groupView) has(name string) bool {
	switch name {
	case "drifted":
		return g.State == "stale" || g.State == "shrunk"
	case "lost":
		return g.State == "shrunk"
	default:
		return true
	}
}

// sorts returns the value of sort for a click on a column: descending, or ascending if the table is already
// sorted by it in descending order.
func (v attentionView) sorts(name string) string {
	if v.Sort == "-"+name {
		return name
	}
	return "-" + name
}

// order returns a column's value of aria-sort.
func (v attentionView) order(name string) string {
	switch v.Sort {
	case name:
		return "ascending"
	case "-" + name:
		return "descending"
	default:
		return "none"
	}
}

func (v attentionView) sortQuery(ctx context.Context, name string) templ.SafeURL {
	return page.ToQuery(ctx, url.Values{"sort": {v.sorts(name)}}, "attention")
}

func (s *Pages) showAttention(w http.ResponseWriter, r *http.Request) error {
	view := attentionView{Sort: cmp.Or(r.URL.Query().Get("sort"), "-date")}
	if !slices.ContainsFunc(columns(), func(c column) bool { return c.Name == strings.TrimPrefix(view.Sort, "-") }) {
		return page.Mistake(fmt.Errorf("there is no column %q: follow a link on the page", format.Shortened(view.Sort, 40)))
	}
	groups, more, err := s.read(r.Context())
	if err != nil {
		return err
	}
	view.More = more
	for _, group := range groups {
		one := groupView{TroubleGroup: group, ID: idOf(group), Label: "Try again"}
		if group.State == "stale" {
			one.Label = "Repair"
		}
		slices.SortStableFunc(one.Dates, comparing(view.Sort))
		one.Rows = one.Dates[:min(rowsShown, len(one.Dates))]
		one.Left = len(one.Dates) - len(one.Rows)
		view.Groups = append(view.Groups, one)
	}
	return s.Render(w, r, http.StatusOK, "What needs attention", attentionPage(view))
}

func (s *Pages) read(ctx context.Context) (groups []ledger.TroubleGroup, more bool, err error) {
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		groups, more, err = ledger.Attention(ctx, on)
		return err
	})
	return groups, more, err
}

// idOf identifies a group by its state and error, so the id stays the same while its dates come and go.
func idOf(group ledger.TroubleGroup) string {
	sum := sha256.Sum256([]byte(group.Key()))
	return hex.EncodeToString(sum[:6])
}

func comparing(by string) func(a, b ledger.Trouble) int {
	name, descending := strings.CutPrefix(by, "-")
	compare := func(a, b ledger.Trouble) int {
		switch name {
		case "ended":
			if a.At == nil || b.At == nil {
				return cmp.Compare(btoi(a.At != nil), btoi(b.At != nil))
			}
			return a.At.Compare(*b.At)
		case "events":
			return cmp.Compare(a.Events, b.Events)
		case "drifted":
			return cmp.Compare(a.Drifted, b.Drifted)
		case "lost":
			return cmp.Compare(a.Lost, b.Lost)
		default:
			return a.Date.Compare(b.Date)
		}
	}
	if descending {
		return func(a, b ledger.Trouble) int { return compare(b, a) }
	}
	return compare
}

func btoi(is bool) int {
	if is {
		return 1
	}
	return 0
}

// title says what is wrong with the dates of a group.
func (g groupView) title() string {
	n := int64(len(g.Dates))
	dates := format.Plural(n, "date")
	switch g.State {
	case "failed":
		return dates + " failed after all attempts"
	case "stale":
		return dates + " drifted"
	case "shrunk":
		return dates + " with fewer events than the last run counted"
	case "interrupted":
		return dates + " interrupted"
	case "cancelled":
		return dates + " cancelled"
	case "protected":
		return dates + " protected"
	case "retrying":
		return dates + " being retried automatically"
	default:
		return dates + " " + g.State
	}
}

// advice says what to do about a group.
func (g groupView) advice() string {
	switch g.State {
	case "failed":
		return "Fix the cause first. The daily job requests the dates again, too."
	case "stale":
		return "A repair requests the dates, and the next run fixes their metrics. It skips dates that have fewer events than their last run counted."
	case "shrunk":
		return "If old events were deleted on purpose, leave these dates as they are: a repair would erase metrics that cannot be counted again. The page of each date says how many."
	case "interrupted", "cancelled":
		return "Only the daily job will request these dates again: try again to have them sooner."
	case "protected":
		return "Their events no longer exist, and the last run kept their metrics. There is nothing to do unless you want to delete the metrics."
	case "retrying":
		return "The next attempt starts automatically. Try again to start it now."
	default:
		return ""
	}
}

// requestGroup requests the ticked dates of a group, or all its dates.
func (s *Pages) requestGroup(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	groups, _, err := s.read(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(groups, func(g ledger.TroubleGroup) bool { return idOf(g) == r.PostFormValue("group") })
	if i < 0 {
		return page.Mistake(errors.New("this group has no dates any more: look at the page again"))
	}
	if !groups[i].Repairable() {
		return page.Mistake(errors.New("request these dates one by one: their pages say what a rollup would erase"))
	}
	var chosen []date.Date
	for _, one := range groups[i].Dates {
		if r.PostFormValue("which") == "all" || slices.Contains(r.PostForm["date"], one.Date.String()) {
			chosen = append(chosen, one.Date)
		}
	}
	if len(chosen) == 0 {
		return page.Mistake(errors.New("tick the dates first, or request all of them"))
	}
	today, err := schedule.Today(ctx, s.DB, s.Clock)
	if err != nil {
		return err
	}
	err = s.DB.Tx(ctx, func(tx pgx.Tx) error {
		// A request for many dates is a sweep, which skips dates that have lost events.
		return ledger.RequestDates(ctx, tx, chosen, ledger.Ask{By: door.User(ctx), Via: audit.ViaWeb, Repair: true, Today: today})
	})
	if err != nil {
		return err
	}
	s.Done(w, r, "requested", nil, "attention")
	return nil
}
