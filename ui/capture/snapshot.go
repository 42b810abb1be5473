package capture

import (
	"errors"
	"net/http"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/snapshot"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// snapshotsShown is how many snapshots a page lists: of one stream, or of one consumer.
const snapshotsShown = 50

// progress returns a snapshot's progress in words.
func progress(one snapshot.Snapshot) string {
	text := format.Plural(one.Rows, "row")
	if one.Estimate > one.Rows && one.FinishedAt == nil {
		text += " of about " + format.Number(one.Estimate)
	}
	if left := one.Left(); left > 0 {
		text += ", about " + format.Duration(left) + " left"
	}
	return text
}

// changeSnapshot pauses, resumes, restarts or cancels a snapshot.
func (s *Pages) changeSnapshot(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	number, err := page.PathID(r)
	if err != nil {
		return err
	}
	change, notice := snapshot.Pause, "paused"
	switch r.PostFormValue("action") {
	case "pause":
	case "resume":
		change, notice = snapshot.Resume, "resumed"
	case "restart":
		change, notice = snapshot.Restart, "restarted"
	case "cancel":
		change, notice = snapshot.Cancel, "cancelled"
	default:
		return page.Mistake(errors.New("the action must be pause, resume, restart or cancel"))
	}
	err = s.DB.Tx(ctx, func(tx pgx.Tx) error { return change(ctx, tx, number, who(r)) })
	if errors.Is(err, snapshot.ErrNone) {
		return page.Mistake(errors.New("there is no unfinished snapshot with this id"))
	}
	if err != nil {
		return err
	}
	s.Done(w, r, notice, nil, "capture")
	return nil
}
