package capture

import (
	"context"
	"net/http"
	"time"

	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/snapshot"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// streamView is a stream on the page.
type streamView struct {
	stream.Status

	Rate float64 // changes per second
	Lag  time.Duration
	// Snapshots are the latest of the stream.
	Snapshots []snapshot.Snapshot
}

// state is the stream's state, with what the page knows of its owner.
func (v streamView) state() string {
	if v.State == "running" && !v.Alive {
		return "stopped"
	}
	return v.State
}

// open counts the gaps that are not repaired, of those that are shown.
func (v streamView) open() (n int64) {
	for _, gap := range v.Gaps {
		if gap.RepairedAt == nil {
			n++
		}
	}
	return n
}

// because says why nothing is read, or what is to be known about it; empty if there is nothing.
func (v streamView) because() string {
	switch {
	case v.Reason != "":
		return page.Sentence(v.Reason)
	case v.state() == "stopped" && len(v.Tables) > 0:
		return "No worker reads this database: start daymill worker."
	case len(v.Tables) == 0:
		return "Nothing is captured any more."
	default:
		return ""
	}
}

// lag writes how long ago the last change was committed that is not in the log yet. A source that has nothing new has no lag.
func (v streamView) lag() string {
	if v.Mode == stream.ModeWAL && v.Behind == 0 {
		return "none"
	}
	if v.Lag <= 0 {
		return "none"
	}
	return format.Duration(v.Lag.Round(time.Millisecond))
}

func (s *Pages) showStreams(w http.ResponseWriter, r *http.Request) error {
	views, err := s.readStreams(r.Context())
	if err != nil {
		return err
	}
	return s.Render(w, r, http.StatusOK, "Capture", streamsPage(views))
}

func (s *Pages) readStreams(ctx context.Context) ([]streamView, error) {
	var views []streamView
	now := s.Clock.Now()
	err := s.DB.Read(ctx, func(on postgres.DBTX) error {
		all, err := stream.List(ctx, on, now)
		if err != nil {
			return err
		}
		views = make([]streamView, len(all))
		for i, one := range all {
			views[i].Status = one
			// From the commit in the source to the log: what the last change took.
			if one.LandedAt != nil && one.CommittedAt != nil {
				views[i].Lag = one.LandedAt.Sub(*one.CommittedAt)
			}
			list, err := snapshot.List(ctx, on, one.Name, "")
			if err != nil {
				return err
			}
			views[i].Snapshots = list[:min(snapshotsShown, len(list))]
			if views[i].Rate, err = (log.Log{}).Rate(ctx, on, one.Name); err != nil {
				return err
			}
		}
		return nil
	})
	return views, err
}

// identity says what of a row its updates and deletes name: pg_class.relreplident in words.
func identity(letter string) string {
	switch letter {
	case "d":
		return "primary key"
	case "f":
		return "full row"
	case "i":
		return "index"
	case "n":
		return "nothing"
	default:
		return letter
	}
}
