// Package view shows views: tables that Daymill keeps equal to a SELECT. A person can look at their state, act on them, apply a definition,
// and put a new one together in the builder.
package view

import (
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// Pages are the pages of views. There are none if Views is nil.
type Pages struct {
	*page.Site

	Views *view.Engine
}

// Places returns the entry of the navigation.
func (s *Pages) Places() []page.Place {
	if s.Views == nil {
		return nil
	}
	return []page.Place{{Name: "Views", Path: "views", Also: []string{"definition", "builder"}}}
}

// Route adds the pages to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	if s.Views == nil {
		return
	}
	mux.Handle("GET /views", s.Page(s.showList))
	mux.Handle("GET /views/{name}", s.Page(s.show))
	mux.Handle("POST /views/{name}", s.Page(s.change))
	mux.Handle("GET /views/{name}/search", s.Page(s.search))
	mux.Handle("GET /views/{name}/definition.yaml", s.Page(s.download))
	mux.Handle("GET /builder", s.Page(s.showBuilder))
	mux.Handle("POST /builder", s.Page(s.build))
	mux.Handle("GET /definition", s.Page(s.showDefinition))
	mux.Handle("POST /definition", s.Page(s.applyDefinition))
}

// who returns the user of a request, for the audit.
func who(r *http.Request) audit.Who {
	return audit.Who{Actor: door.User(r.Context()), Via: audit.ViaWeb}
}

// refused turns an error of package view that the user can fix into one that the page shows.
func refused(err error) error {
	switch {
	case errors.Is(err, view.ErrNone):
		return page.ErrNotFound
	case view.IsRefused(err):
		return page.Mistake(err)
	default:
		return err
	}
}

// storable reports whether Postgres can store a text.
func storable(text string) bool { return !strings.ContainsRune(text, 0) && utf8.ValidString(text) }

// named returns the view that the path names.
func named(r *http.Request, on postgres.DBTX) (view.View, error) {
	name := r.PathValue("name")
	if len(name) > page.LongestText || !storable(name) {
		return view.View{}, page.ErrNotFound
	}
	v, err := view.Get(r.Context(), on, name)
	return v, refused(err)
}

// listed is a view in the list.
type listed struct {
	view.Report

	Now time.Time
}

// state is the view's state in one word, or the problem that a person should look at.
func (l listed) state() string {
	switch {
	case l.State == view.StatePaused && l.OpenDrift > 0:
		return "drift"
	case l.State == view.StatePaused:
		return "paused"
	case l.Failure != nil && l.Failure.Kind != view.TaskVerify: // A verification writes no rows.
		return "failed"
	case l.State == view.StateServing && l.Differing > 0:
		return "differs"
	case l.State == view.StateServing && l.Reason != "":
		return "failing"
	default:
		return l.State
	}
}

// badge is the class of the state's badge.
func (l listed) badge() string {
	return map[string]string{
		"drift": "state-drifted", "differs": "state-drifted", "paused": "state-paused", "failed": "state-failed", "failing": "state-retrying", "serving": "state-complete",
		"stale": "state-stale", "building": "state-running",
	}[l.state()]
}

// reason says why the view is in its state.
func (l listed) reason() string {
	switch {
	case l.Reason != "":
		return l.Reason
	case l.Failure != nil && l.Failure.Kind == view.TaskVerify:
		return "the last verification has failed: " + l.Failure.Error
	case l.Failure != nil:
		return l.Failure.Error
	case l.state() == "differs":
		return format.Plural(l.Differing, "key") + " of the last verification " + map[bool]string{true: "differs", false: "differ"}[l.Differing == 1] + " from the SELECT: verify with repair"
	default:
		return ""
	}
}

// lag is the age of the oldest committed change that the view does not have yet.
func (l listed) lag() string {
	switch {
	case l.Behind == 0:
		return "none"
	case l.BehindSince == nil:
		return format.Plural(l.Behind, "change")
	default:
		return format.Duration(max(0, l.Now.Sub(*l.BehindSince)).Round(time.Millisecond))
	}
}

// size is the approximate number of rows, or – if it is unknown.
func (l listed) size() string {
	if l.ServedAt == nil {
		return "–"
	}
	return "about " + format.Number(l.Rows)
}

func (s *Pages) showList(w http.ResponseWriter, r *http.Request) error {
	var all []listed
	err := s.DB.Read(r.Context(), func(on postgres.DBTX) error {
		reports, err := view.Reports(r.Context(), on)
		for _, report := range reports {
			all = append(all, listed{report, s.Clock.Now()})
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.Render(w, r, http.StatusOK, "Views", listPage(all))
}

// shown is the page of a view.
type shown struct {
	listed

	Definition string
	SQL        view.SQL
	Keys       string // what was entered
	Wrong      string // what is wrong with it
	Remove     bool   // ask for confirmation before removing the view
}

func (s *Pages) read(r *http.Request) (shown, error) {
	var p shown
	err := s.DB.Read(r.Context(), func(on postgres.DBTX) error {
		v, err := named(r, on)
		if err != nil {
			return err
		}
		p.Now = s.Clock.Now()
		if p.Report, err = v.Report(r.Context(), on); err != nil {
			return err
		}
		if p.Definition, err = p.Report.Definition(); err != nil {
			return err
		}
		p.SQL, err = v.SQL(r.Context(), on)
		return refused(err)
	})
	return p, err
}

func (s *Pages) show(w http.ResponseWriter, r *http.Request) error {
	p, err := s.read(r)
	if err != nil {
		return err
	}
	return s.Render(w, r, http.StatusOK, "View "+p.Name, showPage(p))
}

// change handles the forms of a view's page.
func (s *Pages) change(w http.ResponseWriter, r *http.Request) error {
	v, err := named(r, s.DB)
	if err != nil {
		return err
	}
	action := r.PostFormValue("action")
	if action == "remove" && r.PostFormValue("confirm") == "" {
		p, err := s.read(r)
		if err != nil {
			return err
		}
		p.Remove = true
		return s.Render(w, r, http.StatusOK, "Remove "+v.Name, showPage(p))
	}
	notice, err := s.act(r, v, action)
	if wrong := page.Wrong(refused(err)); wrong != "" {
		p, err := s.read(r)
		if err != nil {
			return err
		}
		p.Wrong, p.Keys = wrong, r.PostFormValue("keys")
		return s.Render(w, r, page.StatusOf(wrong), "View "+v.Name, showPage(p))
	}
	if err != nil {
		return refused(err)
	}
	if action == "remove" {
		s.Done(w, r, notice, nil, "views")
		return nil
	}
	s.Done(w, r, notice, nil, "views", v.Name)
	return nil
}

// act carries out an action, and returns the notice about it.
func (s *Pages) act(r *http.Request, v view.View, action string) (notice string, err error) {
	ctx := r.Context()
	switch action {
	case "pause":
		because := strings.TrimSpace(r.PostFormValue("because"))
		if len(because) > page.LongestText || !storable(because) {
			return "", page.Mistake(errors.New("the reason is too long, or has characters that Postgres cannot store: give a shorter one"))
		}
		return "paused", s.DB.Tx(ctx, func(tx pgx.Tx) error { return view.Pause(ctx, tx, v, because, who(r)) })
	case "resume":
		return "resumed", s.DB.Tx(ctx, func(tx pgx.Tx) error { return view.Resume(ctx, tx, v, who(r)) })
	case "rebuild":
		_, err = s.Views.Rebuild(ctx, v.Name, who(r))
	case "refresh":
		var keys [][]string
		if r.PostFormValue("all") == "" {
			if keys, err = typedKeys(r.PostFormValue("keys")); err != nil {
				return "", err
			}
		}
		_, err = s.Views.Refresh(ctx, v.Name, keys, who(r))
	case "verify":
		_, err = s.Views.Verify(ctx, v.Name, r.PostFormValue("repair") != "", who(r))
	case "accept", "reject":
		return s.decide(r, v, action)
	case "remove":
		return "removed", s.Views.Remove(ctx, v.Name, who(r))
	default:
		return "", page.Mistake(errors.New("the action must be pause, resume, rebuild, refresh, verify, accept, reject or remove"))
	}
	return "requested", err
}

// decide accepts or rejects one entry of drift, or all open ones.
func (s *Pages) decide(r *http.Request, v view.View, action string) (notice string, err error) {
	var ids []int64
	if text := r.PostFormValue("drift"); text != "" {
		number, err := parseID(text)
		if err != nil {
			return "", err
		}
		ids = []int64{number}
	}
	decided, err := s.Views.Decide(r.Context(), v.Name, action == "accept", ids, who(r))
	if err == nil && decided == 0 {
		return "", page.Mistake(errors.New("somebody has already decided: nothing was changed"))
	}
	return action + "ed", err
}

// typedKeys parses one key per line, as a person has typed them.
func typedKeys(text string) ([][]string, error) {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	if !storable(text) {
		return nil, page.Mistake(errors.New("the keys have characters that Postgres cannot store"))
	}
	return view.ParseKeys(lines)
}
