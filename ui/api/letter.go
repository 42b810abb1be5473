package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/report"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/ui/reply"
)

const (
	// longestReason limits the reason of a group of dead letters, in bytes.
	longestReason = 5_000
	// mostPositions is how many dead letters a call may name.
	mostPositions = 5_000
)

var errNoLetter = apiError{http.StatusNotFound, "There is no such dead letter."}

type groupsAnswer struct {
	Groups []report.Group `json:"groups"`
	// Complete is false if there are more letters than were counted.
	Complete bool `json:"complete"`
}

// apiListGroups counts dead letters by consumer, state and reason.
func (s *API) apiListGroups(w http.ResponseWriter, r *http.Request) error {
	answer := groupsAnswer{Groups: []report.Group{}}
	err := s.DB.Read(r.Context(), func(on postgres.DBTX) error {
		groups, more, err := consumer.Groups(r.Context(), on)
		for _, group := range groups {
			answer.Groups = append(answer.Groups, report.OfGroup(group))
		}
		answer.Complete = !more
		return err
	})
	if err != nil {
		return err
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// groupOf checks the group of dead letters in a call: all letters of the consumer if state and reason are empty.
func groupOf(name, state, reason string) (consumer.Group, error) {
	switch {
	case !storable(name):
		return consumer.Group{}, errNoSink
	case state != "" && state != consumer.Refused && state != consumer.Waiting:
		return consumer.Group{}, unprocessable(errors.New("state must be refused or waiting"))
	case len(reason) > longestReason || !storable(reason):
		return consumer.Group{}, unprocessable(errors.New("reason must be UTF-8 of " + strconv.Itoa(longestReason) + " bytes at most"))
	}
	return consumer.Group{Consumer: name, State: state, Reason: reason}, nil
}

type lettersAnswer struct {
	Letters []report.Letter `json:"dead_letters"`
	// NextCursor is the cursor for the next call; null on the last page.
	NextCursor *string `json:"next_cursor"`
}

// apiListLetters lists dead letters of a consumer in the order of the log.
func (s *API) apiListLetters(w http.ResponseWriter, r *http.Request) error {
	ctx, query := r.Context(), r.URL.Query()
	group, err := groupOf(r.PathValue("name"), query.Get("state"), query.Get("reason"))
	if err != nil {
		return err
	}
	limit, after, err := pageOf(query)
	if err != nil {
		return err
	}
	var letters []consumer.Letter
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		if _, err := consumer.Get(ctx, on, group.Consumer); err != nil {
			return err
		}
		letters, err = consumer.LettersOf(ctx, on, group, after, limit+1)
		return err
	})
	if errors.Is(err, consumer.ErrNone) {
		return errNoSink
	}
	if err != nil {
		return err
	}
	answer := lettersAnswer{Letters: []report.Letter{}}
	if len(letters) > limit {
		letters = letters[:limit]
		answer.NextCursor = nextCursor(letters[limit-1].Position)
	}
	for _, l := range letters {
		answer.Letters = append(answer.Letters, report.OfLetter(l))
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// apiShowLetter returns a dead letter with its change and the consumer's answer.
func (s *API) apiShowLetter(w http.ResponseWriter, r *http.Request) error {
	ctx, name := r.Context(), r.PathValue("name")
	position, err := apiID(r, "dead letter")
	if err != nil {
		return err
	}
	if !storable(name) {
		return errNoLetter
	}
	var letter consumer.Letter
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		letter, err = consumer.GetLetter(ctx, on, name, position)
		return err
	})
	if errors.Is(err, consumer.ErrNoLetter) {
		return errNoLetter
	}
	if err != nil {
		return err
	}
	answer := report.OfLetter(letter)
	answer.Change = &letter.Change
	if answer.Change.Unchanged == nil {
		answer.Change.Unchanged = []string{}
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// selection names dead letters of a consumer: positions, or all of a state and a reason.
type selection struct {
	Positions []int64 `json:"positions"`
	All       bool    `json:"all"`
	State     string  `json:"state"`  // with all
	Reason    string  `json:"reason"` // with all
}

type lettersChanged struct {
	Letters int64 `json:"dead_letters"`
}

// apiReplayLetters requests that dead letters are delivered again.
func (s *API) apiReplayLetters(w http.ResponseWriter, r *http.Request) error {
	return s.changeLetters(w, r, http.StatusAccepted, consumer.Replay, consumer.ReplayGroup)
}

// apiDiscardLetters deletes dead letters.
func (s *API) apiDiscardLetters(w http.ResponseWriter, r *http.Request) error {
	return s.changeLetters(w, r, http.StatusOK, consumer.Discard, consumer.DiscardGroup)
}

func (s *API) changeLetters(
	w http.ResponseWriter, r *http.Request, status int,
	some func(ctx context.Context, tx pgx.Tx, name string, positions []int64, who audit.Who) (int64, error),
	all func(ctx context.Context, tx pgx.Tx, group consumer.Group, who audit.Who) (int64, error),
) error {
	ctx := r.Context()
	var request selection
	if err := decode(r, &request); err != nil {
		return err
	}
	group, err := groupOf(r.PathValue("name"), request.State, request.Reason)
	switch {
	case err != nil:
		return err
	case request.All == (len(request.Positions) > 0):
		return unprocessable(errors.New("give positions, or all: true"))
	case !request.All && request.State+request.Reason != "":
		return unprocessable(errors.New("state and reason can be given only with all: true"))
	case len(request.Positions) > mostPositions:
		return unprocessable(errors.New("give " + strconv.Itoa(mostPositions) + " positions at most"))
	}
	var answer lettersChanged
	err = s.DB.Tx(ctx, func(tx pgx.Tx) error {
		if _, err := consumer.Get(ctx, tx, group.Consumer); err != nil {
			return err
		}
		if request.All {
			answer.Letters, err = all(ctx, tx, group, via(r.Context()))
		} else {
			answer.Letters, err = some(ctx, tx, group.Consumer, request.Positions, via(r.Context()))
		}
		return err
	})
	switch {
	case errors.Is(err, consumer.ErrNone):
		return errNoSink
	case errors.Is(err, consumer.ErrNoLetter):
		return errNoLetter
	case err != nil:
		return err
	}
	reply.JSON(w, "application/json", status, answer)
	return nil
}
