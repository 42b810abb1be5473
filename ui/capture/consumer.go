package capture

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/plan"
	"github.com/daymill/daymill/internal/capture/sink/kind"
	"github.com/daymill/daymill/internal/capture/snapshot"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/config"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// lagsShown is the maximum number of consumers whose lag a list looks up.
const lagsShown = 50

// consumerView is a consumer on the page.
type consumerView struct {
	consumer.Progress

	Head   int64         // position of the last change in the log
	Behind int64         // positions
	Lag    time.Duration // since the commit of the first change that it does not have; 0 if it has all
	Rate   string        // changes per second
}

// state is a consumer's state in one word.
func (v consumerView) state() string {
	switch {
	case v.PausedAt != nil:
		return "paused"
	case v.Failures > 0:
		return "retrying"
	case v.Behind > 0:
		return "running"
	default:
		return "complete"
	}
}

// stateText is the word that the page shows for the state.
func (v consumerView) stateText() string {
	return map[string]string{"paused": "paused", "retrying": "failing", "running": "delivering", "complete": "caught up"}[v.state()]
}

func (v consumerView) lag() string {
	if v.Lag <= 0 {
		return "none"
	}
	return format.Duration(v.Lag.Round(time.Millisecond))
}

// oneView is the page of a consumer.
type oneView struct {
	consumerView

	Each      []consumer.Shard
	Settings  string
	Forgotten int64
	Snapshots []snapshot.Snapshot
	Rewind    *rewindView // ask for confirmation
}

// rewindView says what a rewind would do.
type rewindView struct {
	To   string
	Does string
}

func (s *Pages) showConsumers(w http.ResponseWriter, r *http.Request) error {
	return s.renderConsumers(w, r, sinkForm{Database: config.App, Kind: kind.Webhook, Shards: "1", From: plan.Now})
}

// renderConsumers shows the list and the form, with what is wrong in it.
func (s *Pages) renderConsumers(w http.ResponseWriter, r *http.Request, form sinkForm) error {
	var views []consumerView
	err := s.DB.Read(r.Context(), func(on postgres.DBTX) error {
		all, err := consumer.List(r.Context(), on)
		if err != nil {
			return err
		}
		heads, err := s.heads(r.Context(), on)
		if err != nil {
			return err
		}
		for i, one := range all {
			view, err := s.viewOf(r.Context(), on, one, heads, i < lagsShown)
			if err != nil {
				return err
			}
			views = append(views, view)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.Render(w, r, page.StatusOf(form.Wrong), "Consumers", consumersPage(views, form))
}

// heads returns the streams by name.
func (s *Pages) heads(ctx context.Context, on postgres.DBTX) (map[string]stream.Status, error) {
	all, err := stream.List(ctx, on, s.Clock.Now())
	heads := make(map[string]stream.Status, len(all))
	for _, one := range all {
		heads[one.Name] = one
	}
	return heads, err
}

func (s *Pages) viewOf(
	ctx context.Context, on postgres.DBTX, p consumer.Progress, heads map[string]stream.Status, withLag bool,
) (consumerView, error) {
	view := consumerView{Progress: p, Head: heads[p.Stream].Position, Rate: "–"}
	view.Behind = max(0, view.Head-p.Position)
	if rate, known := s.pace.rate(p.Name, p.Delivered, s.Clock.Now()); known {
		view.Rate = perSecond(rate)
	}
	if view.Behind == 0 || !withLag {
		return view, nil
	}
	at, err := (log.Log{}).Next(ctx, on, p.Stream, p.Position)
	if err == nil && !at.IsZero() {
		view.Lag = max(0, s.Clock.Now().Sub(at))
	}
	return view, err
}

func (s *Pages) showConsumer(w http.ResponseWriter, r *http.Request) error {
	view, err := s.readConsumer(r)
	if err != nil {
		return err
	}
	return s.Render(w, r, http.StatusOK, "Consumer "+view.Name, consumerPage(view))
}

func (s *Pages) readConsumer(r *http.Request) (oneView, error) {
	ctx := r.Context()
	name, err := named(r, "name")
	if err != nil {
		return oneView{}, err
	}
	var view oneView
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		all, err := consumer.List(ctx, on)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(all, func(p consumer.Progress) bool { return p.Name == name })
		if at < 0 {
			return page.ErrNotFound
		}
		heads, err := s.heads(ctx, on)
		if err != nil {
			return err
		}
		if view.consumerView, err = s.viewOf(ctx, on, all[at], heads, true); err != nil {
			return err
		}
		view.Settings, view.Forgotten = payload(all[at].Settings), heads[all[at].Stream].Forgotten
		if view.Each, err = consumer.Shards(ctx, on, name); err != nil {
			return err
		}
		list, err := snapshot.List(ctx, on, "", name)
		view.Snapshots = list[:min(snapshotsShown, len(list))]
		return err
	})
	return view, err
}

// changeConsumer pauses, resumes or rewinds a consumer, or requests a snapshot for it.
func (s *Pages) changeConsumer(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	name, err := named(r, "name")
	if err != nil {
		return err
	}
	var change func(tx pgx.Tx) error
	var notice string
	switch r.PostFormValue("action") {
	case "pause":
		because, err := typed(r.PostForm, "because", page.LongestText)
		if err != nil {
			return err
		}
		notice, change = "paused", func(tx pgx.Tx) error { return consumer.Pause(ctx, tx, name, because, who(r)) }
	case "resume":
		notice, change = "resumed", func(tx pgx.Tx) error { return consumer.Resume(ctx, tx, name, who(r)) }
	case "rewind":
		to, view, err := s.rewind(r)
		if err != nil {
			return err
		}
		if r.PostFormValue("confirm") == "" {
			return s.Render(w, r, http.StatusOK, "Rewind "+name, consumerPage(view))
		}
		notice, change = "rewound", func(tx pgx.Tx) error { return consumer.Rewind(ctx, tx, name, to, who(r)) }
	case "snapshot":
		notice, change = "snapshot", func(tx pgx.Tx) error { return snapshot.RequestFor(ctx, tx, name, nil, who(r)) }
	default:
		return page.Mistake(errors.New("the action must be pause, resume, rewind or snapshot"))
	}
	err = s.DB.Tx(ctx, change)
	if errors.Is(err, consumer.ErrNone) {
		return page.ErrNotFound
	}
	if err != nil {
		return err
	}
	s.Done(w, r, notice, nil, "consumers", name)
	return nil
}

// rewind reads the position in a form, and describes the effect of continuing after it.
func (s *Pages) rewind(r *http.Request) (int64, oneView, error) {
	view, err := s.readConsumer(r)
	if err != nil {
		return 0, view, err
	}
	text := strings.TrimSpace(r.PostFormValue("to"))
	to, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil || to < 0:
		return 0, view, page.Mistake(fmt.Errorf("%q is not a position: give a number from %d to %d", format.Shortened(text, 30), view.Forgotten, view.Head))
	case to < view.Forgotten:
		return 0, view, page.Mistake(fmt.Errorf("the log begins after position %d: for earlier changes, take a snapshot with `daymill sink snapshot`", view.Forgotten))
	case to > view.Head:
		return 0, view, page.Mistake(fmt.Errorf("the log ends at position %d", view.Head))
	}
	does := fmt.Sprintf("It receives the changes after position %s again: up to %s.", format.Number(to), format.Plural(view.Head-to, "change"))
	if to > view.Position {
		does = fmt.Sprintf("It never receives the changes after position %s and up to position %s.", format.Number(view.Position), format.Number(to))
	}
	view.Rewind = &rewindView{To: id(to), Does: does}
	return to, view, nil
}
