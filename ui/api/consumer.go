package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/ui/reply"
)

const (
	// pollWait is the longest that a poll waits for changes: the server gives a request 15 seconds.
	pollWait = 10 * time.Second
	// pollLook is the interval at which it looks for changes in the meantime.
	pollLook = 200 * time.Millisecond
	// pollLimit and pollLease are the defaults of a poll.
	pollLimit = 100
	pollLease = 30 * time.Second
)

var (
	errNoConsumer = apiError{http.StatusNotFound, "There is no such consumer of kind poll."}
	errNotCounted = apiError{http.StatusConflict, "The changes will be delivered again: another poller has received them since, or the consumer was paused or rewound."}
)

// limit is how long a call may take.
func (r apiRoute) limit() time.Duration {
	if strings.HasSuffix(r.path, "/poll") {
		return apiTimeout + pollWait
	}
	return apiTimeout
}

// pollRequest is what a poller asks for. All fields have defaults.
type pollRequest struct {
	Limit        *int     `json:"limit"`         // changes; 100 if absent
	WaitSeconds  float64  `json:"wait_seconds"`  // for changes, if there are none
	LeaseSeconds *float64 `json:"lease_seconds"` // after which another poller may receive them; 30 if absent
	Poller       string   `json:"poller"`        // from the last answer
}

type pollAnswer struct {
	Poller  string            `json:"poller"`
	Changes []json.RawMessage `json:"changes"`
}

func (q pollRequest) poll(name string) (consumer.Poll, time.Duration, error) {
	p := consumer.Poll{Consumer: name, Limit: pollLimit, Lease: pollLease, Poller: q.Poller}
	if q.Limit != nil {
		p.Limit = *q.Limit
	}
	if q.LeaseSeconds != nil {
		p.Lease = time.Duration(*q.LeaseSeconds * float64(time.Second))
	}
	switch {
	case p.Limit < 1 || p.Limit > consumer.MaxPoll:
		return p, 0, errors.New("limit must be a number from 1 to 10000")
	case p.Lease < consumer.MinLease || p.Lease > consumer.MaxLease:
		return p, 0, errors.New("lease_seconds must be a number from 1 to 3600")
	case q.WaitSeconds < 0 || q.WaitSeconds > pollWait.Seconds():
		return p, 0, errors.New("wait_seconds must be a number from 0 to 10")
	case len(q.Poller) > 200 || !storable(q.Poller):
		return p, 0, errors.New("the poller's name must be UTF-8 of 200 bytes at most")
	case p.Poller == "":
		p.Poller = rand.Text()
	}
	return p, time.Duration(q.WaitSeconds * float64(time.Second)), nil
}

// apiPollChanges returns the next changes of a consumer, and waits for some if there are none.
func (s *API) apiPollChanges(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	var request pollRequest
	if err := decode(r, &request); err != nil {
		return err
	}
	if !storable(r.PathValue("name")) {
		return errNoConsumer
	}
	poll, wait, err := request.poll(r.PathValue("name"))
	if err != nil {
		return unprocessable(err)
	}
	changes, err := s.pollFor(ctx, poll, wait)
	if err != nil {
		return refusedPoll(err)
	}
	answer := pollAnswer{Poller: poll.Poller, Changes: make([]json.RawMessage, len(changes))}
	for i, c := range changes {
		if answer.Changes[i], err = sink.Document(c); err != nil {
			return err
		}
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// pollFor polls until there are changes, at most for the given time.
func (s *API) pollFor(ctx context.Context, poll consumer.Poll, wait time.Duration) ([]change.Change, error) {
	over := time.NewTimer(wait)
	defer over.Stop()
	ticker := time.NewTicker(pollLook)
	defer ticker.Stop()
	for {
		changes, err := poll.Changes(ctx, s.DB)
		if err != nil || len(changes) > 0 || wait == 0 {
			return changes, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-over.C:
			return nil, nil
		case <-ticker.C:
		}
	}
}

type ackRequest struct {
	Position int64  `json:"position"`
	Poller   string `json:"poller"`
}

// apiAckChanges records that a poller has processed all changes up to a position.
func (s *API) apiAckChanges(w http.ResponseWriter, r *http.Request) error {
	var request ackRequest
	if err := decode(r, &request); err != nil {
		return err
	}
	if request.Poller == "" {
		return unprocessable(errors.New("poller is missing: send the poller of the poll's answer"))
	}
	if !storable(r.PathValue("name")) || !storable(request.Poller) {
		return errNoConsumer
	}
	counts, err := consumer.Poll{Consumer: r.PathValue("name"), Poller: request.Poller}.Ack(r.Context(), s.DB, request.Position)
	if err != nil {
		return refusedPoll(err)
	}
	if !counts {
		return errNotCounted
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// storable reports whether Postgres can store a text: it must be valid UTF-8 without NUL.
func storable(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }

func refusedPoll(err error) error {
	switch {
	case errors.Is(err, consumer.ErrNone):
		return errNoConsumer
	case errors.Is(err, consumer.ErrPoll):
		return unprocessable(err)
	default:
		return err
	}
}
