package capture

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// groupsView is the dead letters by consumer and error.
type groupsView struct {
	Groups []consumer.Group
	More   bool
}

// lettersView is a page of a consumer's dead letters.
type lettersView struct {
	Group   consumer.Group // the filter: a consumer, and a state and a reason if it selects one group
	Letters []consumer.Letter
	Beside  page.Neighbours
	Discard *discardView // ask for confirmation
}

// discardView says what would be discarded.
type discardView struct {
	Values url.Values
	What   string
}

// groupQuery is the query of a group.
func groupQuery(group consumer.Group) url.Values {
	query := url.Values{}
	if group.State != "" {
		query.Set("state", group.State)
	}
	if group.Reason != "" {
		query.Set("reason", group.Reason)
	}
	return query
}

// longestReason limits the reason that a page filters by, in bytes. Reasons are sinks' answers.
const longestReason = 8_000

// groupOf reads a group from the path and a query or a form.
func groupOf(r *http.Request, given url.Values) (consumer.Group, error) {
	name, err := named(r, "name")
	if err != nil {
		return consumer.Group{}, err
	}
	group := consumer.Group{Consumer: name, State: given.Get("state"), Reason: given.Get("reason")}
	if group.State != "" && group.State != consumer.Refused && group.State != consumer.Waiting {
		return group, page.Mistake(errors.New("there is no such state: use refused or waiting"))
	}
	if group.Reason != "" {
		checked, err := typed(url.Values{"reason": {group.Reason}}, "reason", longestReason)
		if err != nil || checked == "" {
			return group, page.Mistake(errors.New("the filter has an invalid reason: choose another"))
		}
	}
	return group, nil
}

func (s *Pages) showGroups(w http.ResponseWriter, r *http.Request) error {
	var view groupsView
	err := s.DB.Read(r.Context(), func(on postgres.DBTX) (err error) {
		view.Groups, view.More, err = consumer.Groups(r.Context(), on)
		return err
	})
	if err != nil {
		return err
	}
	return s.Render(w, r, http.StatusOK, "Dead letters", groupsPage(view))
}

func (s *Pages) showLetters(w http.ResponseWriter, r *http.Request) error {
	group, err := groupOf(r, r.URL.Query())
	if err != nil {
		return err
	}
	view, err := s.readLetters(r.Context(), group, r.URL.Query())
	if err != nil {
		return err
	}
	return s.Render(w, r, http.StatusOK, "Dead letters of "+group.Consumer, lettersPage(view))
}

func (s *Pages) readLetters(ctx context.Context, group consumer.Group, given url.Values) (lettersView, error) {
	at, err := page.CursorOf(given)
	if err != nil {
		return lettersView{}, err
	}
	view := lettersView{Group: group}
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		if _, err = consumer.Get(ctx, on, group.Consumer); err != nil {
			return err
		}
		view.Letters, err = consumer.LettersOf(ctx, on, group, at.After, rowsPerPage+1)
		return err
	})
	if errors.Is(err, consumer.ErrNone) {
		return view, page.ErrNotFound
	}
	if err != nil {
		return view, err
	}
	var next page.Cursor
	if len(view.Letters) > rowsPerPage {
		view.Letters = view.Letters[:rowsPerPage]
		next.After = view.Letters[rowsPerPage-1].Position
	}
	view.Beside = page.ByID(ctx, groupQuery(group), page.Cursor{}, next, "deadletters", group.Consumer)
	if at.After != 0 {
		view.Beside.Newer = page.ToQuery(ctx, groupQuery(group), "deadletters", group.Consumer)
	}
	return view, nil
}

// changeLetters replays or discards letters: those that are ticked, or a group.
func (s *Pages) changeLetters(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	group, err := groupOf(r, r.PostForm)
	if err != nil {
		return err
	}
	var positions []int64
	for _, text := range r.PostForm["position"] {
		position, err := strconv.ParseInt(text, 10, 64)
		if err != nil || position < 1 {
			return page.Mistake(errors.New("a position is a number: tick dead letters on the page"))
		}
		positions = append(positions, position)
	}
	all := r.PostFormValue("all") != ""
	action := r.PostFormValue("action")
	switch {
	case !slices.Contains([]string{"replay", "discard"}, action):
		return page.Mistake(errors.New("the action must be replay or discard"))
	case len(positions) == 0 && !all:
		return page.Mistake(errors.New("tick the dead letters first, or act on all of them"))
	case action == "discard" && r.PostFormValue("confirm") == "":
		return s.confirmDiscard(w, r, group, positions)
	}
	err = s.DB.Tx(ctx, func(tx pgx.Tx) error {
		switch {
		case action == "replay" && len(positions) > 0:
			_, err = consumer.Replay(ctx, tx, group.Consumer, positions, who(r))
		case action == "replay":
			_, err = consumer.ReplayGroup(ctx, tx, group, who(r))
		case len(positions) > 0:
			_, err = consumer.Discard(ctx, tx, group.Consumer, positions, who(r))
		default:
			_, err = consumer.DiscardGroup(ctx, tx, group, who(r))
		}
		return err
	})
	if errors.Is(err, consumer.ErrNoLetter) {
		return page.Mistake(errors.New("these dead letters no longer exist: they were delivered, or somebody has discarded them"))
	}
	if err != nil {
		return err
	}
	s.Done(w, r, map[string]string{"replay": "replayed", "discard": "discarded"}[action], nil, "deadletters")
	return nil
}

// confirmDiscard asks before anything is discarded, which cannot be undone.
func (s *Pages) confirmDiscard(w http.ResponseWriter, r *http.Request, group consumer.Group, positions []int64) error {
	view, err := s.readLetters(r.Context(), group, url.Values{})
	if err != nil {
		return err
	}
	values := groupQuery(group)
	values.Set("action", "discard")
	values.Set("confirm", "1")
	view.Discard = &discardView{Values: values, What: "all of these dead letters, at most ten thousand"}
	if len(positions) == 0 {
		values.Set("all", "1")
	} else {
		values["position"] = r.PostForm["position"]
		view.Discard.What = format.Plural(int64(len(positions)), "dead letter") // One of its page, or those that were ticked.
	}
	return s.Render(w, r, http.StatusOK, "Discard dead letters", lettersPage(view))
}

// letterView is the page of a dead letter.
type letterView struct {
	consumer.Letter

	Seen changeView
}

func (s *Pages) showLetter(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	name, err := named(r, "name")
	if err != nil {
		return err
	}
	position, err := page.PathID(r)
	if err != nil {
		return err
	}
	var letter consumer.Letter
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		letter, err = consumer.GetLetter(ctx, on, name, position)
		return err
	})
	if errors.Is(err, consumer.ErrNoLetter) {
		return page.ErrNotFound
	}
	if err != nil {
		return err
	}
	return s.Render(w, r, http.StatusOK, "Dead letter "+id(position), letterPage(letterView{Letter: letter, Seen: newChangeView(letter.Change)}))
}
