package api

import (
	"errors"
	"net/http"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/backfill"
	"github.com/daymill/daymill/ui/page"
	"github.com/daymill/daymill/ui/reply"
)

type backfillsAnswer struct {
	Backfills []backfill.Status `json:"backfills"`
	// NextCursor is the cursor for the next call; null on the last page.
	NextCursor *string `json:"next_cursor"`
}

// apiListBackfills lists backfills, newest first.
func (s *API) apiListBackfills(w http.ResponseWriter, r *http.Request) error {
	ctx, query := r.Context(), r.URL.Query()
	limit, before, err := pageOf(query)
	if err != nil {
		return err
	}
	answer := backfillsAnswer{}
	err = s.DB.Read(ctx, func(on postgres.DBTX) (err error) {
		answer.Backfills, err = backfill.List(ctx, on, before, limit+1)
		return err
	})
	if err != nil {
		return err
	}
	if len(answer.Backfills) > limit {
		answer.Backfills = answer.Backfills[:limit]
		answer.NextCursor = nextCursor(answer.Backfills[limit-1].ID)
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// apiPauseBackfill, apiResumeBackfill and apiCancelBackfill change a backfill, and return its state.
func (s *API) apiPauseBackfill(w http.ResponseWriter, r *http.Request) error {
	return s.changeBackfill(w, r, backfill.Paused)
}

func (s *API) apiResumeBackfill(w http.ResponseWriter, r *http.Request) error {
	return s.changeBackfill(w, r, backfill.Running)
}

func (s *API) apiCancelBackfill(w http.ResponseWriter, r *http.Request) error {
	return s.changeBackfill(w, r, backfill.Cancelled)
}

func (s *API) changeBackfill(w http.ResponseWriter, r *http.Request, state string) error {
	ctx := r.Context()
	if err := decode(r, &struct{}{}); err != nil {
		return err
	}
	id, err := apiID(r, "backfill")
	if err != nil {
		return err
	}
	err = backfill.SetState(ctx, s.DB, id, state, via(r.Context()))
	switch {
	case errors.Is(err, backfill.ErrNotFound):
		return apiError{http.StatusNotFound, "There is no such backfill."}
	case errors.Is(err, backfill.ErrEnded):
		return apiError{http.StatusUnprocessableEntity, page.Sentence(err.Error())}
	case err != nil:
		return err
	}
	return s.apiShowBackfill(w, r)
}
