package capture

import (
	"context"
	"net/http"
	"slices"
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
	// Snapshots are the newest snapshots of the stream.
	Snapshots []snapshot.Snapshot
}

// state returns the stream's state, considering whether its owner is alive.
func (v streamView) state() string {
	if v.State == "running" && !v.Alive {
		return "stopped"
	}
	return v.State
}

// leavesOut reports whether a table that matches is not captured.
func (v streamView) leavesOut() bool {
	return slices.ContainsFunc(v.Captured, func(one stream.Captured) bool { return one.Reason != "" })
}

// open returns how many of the listed gaps are not repaired.
func (v streamView) open() (n int64) {
	for _, gap := range v.Gaps {
		if gap.RepairedAt == nil {
			n++
		}
	}
	return n
}

// because returns why the stream is not read, or a warning; empty if there is neither.
func (v streamView) because() string {
	switch {
	case v.Reason != "":
		return page.Sentence(v.Reason)
	case v.state() == "stopped" && len(v.Tables) > 0:
		return "No worker reads this database: start daymill worker."
	case len(v.Tables) == 0:
		return "No table of this database is captured any more."
	default:
		return ""
	}
}

// lag writes how long it takes a change from its commit to the log. A source without new changes has no lag.
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
	return s.Render(w, r, http.StatusOK, "Capture", streamsPage(views, tablesForms(views)))
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
			// The last change's time from its commit in the source to the log.
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

// identity returns pg_class.relreplident in words: which old values an update or a delete has.
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
