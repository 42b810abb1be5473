// Package alert shows who is told what is wrong, what they were told, and whether messages arrive. An admin can test a channel.
package alert

import (
	"errors"
	"net/http"
	"time"

	"github.com/daymill/daymill/internal/alert"
	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/page"
)

// Pages is the page of alerts. There is none if Alerts is nil.
type Pages struct {
	*page.Site

	Alerts *alert.Keeper
}

// Places returns the entry of the navigation.
func (s *Pages) Places() []page.Place {
	if s.Alerts == nil {
		return nil
	}
	return []page.Place{{Name: "Alerts", Path: "alerts"}}
}

// Route adds the pages to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	if s.Alerts == nil {
		return
	}
	mux.Handle("GET /alerts", s.Page(s.show))
	mux.Handle("POST /alerts/{channel}/test", s.Page(s.test))
}

// view is the page of alerts.
type view struct {
	Channels []channelRow
	Alerts   []alert.Alert
	Messages []messageRow
	Wrong    string // why a test failed
}

type channelRow struct {
	alert.State

	Trouble string
}

// messageRow is a message with its state as a word.
type messageRow struct {
	alert.Message

	State string
}

func (s *Pages) show(w http.ResponseWriter, r *http.Request) error { return s.render(w, r, "") }

func (s *Pages) render(w http.ResponseWriter, r *http.Request, wrong string) error {
	v := view{Wrong: wrong}
	var channels []alert.State
	var messages []alert.Message
	err := s.DB.Read(r.Context(), func(on postgres.DBTX) (err error) {
		if channels, err = alert.List(r.Context(), on); err != nil {
			return err
		}
		if v.Alerts, err = alert.Alerts(r.Context(), on); err != nil {
			return err
		}
		messages, err = alert.Messages(r.Context(), on)
		return err
	})
	if err != nil {
		return err
	}
	for _, one := range channels {
		v.Channels = append(v.Channels, channelRow{one, page.Sentence(one.Trouble(s.Clock.Now()))})
	}
	for _, one := range messages {
		v.Messages = append(v.Messages, messageRow{one, stateOf(one)})
	}
	return s.Render(w, r, page.StatusOf(wrong), "Alerts", alertPage(v))
}

// stateOf returns the state of a message, as badges know it.
func stateOf(m alert.Message) string {
	switch {
	case m.SentAt != nil:
		return "sent"
	case m.FailedAt != nil:
		return "failed"
	case m.Error != "":
		return "retrying"
	default:
		return "waiting"
	}
}

// errMayNotTest means that the user's role may not test channels.
var errMayNotTest = page.Mistake(errors.New("only an admin may test a channel, and nothing was sent"))

// test sends a test to a channel.
func (s *Pages) test(w http.ResponseWriter, r *http.Request) error {
	if door.Who(r.Context()).Role != door.Admin {
		return errMayNotTest
	}
	name := r.PathValue("channel")
	err := s.Alerts.Test(r.Context(), name, audit.Who{Actor: door.User(r.Context()), Via: audit.ViaWeb})
	var unsent *alert.SendError
	switch {
	case errors.Is(err, alert.ErrNone):
		return page.ErrNotFound
	case errors.Is(err, alert.ErrTested), errors.As(err, &unsent):
		return s.render(w, r, page.Sentence(err.Error()))
	case err != nil:
		return err
	}
	s.Done(w, r, "tested", nil, "alerts")
	return nil
}

// latest returns when a message was sent, or when it was last tried.
func latest(m messageRow) time.Time {
	if m.SentAt != nil {
		return *m.SentAt
	}
	return m.CreatedAt
}
