package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/plan"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/config"
	"github.com/daymill/daymill/ui/page"
	"github.com/daymill/daymill/ui/reply"
)

type streamRequest struct {
	Tables *[]string `json:"tables"` // patterns; none ends the capture
	URL    string    `json:"url"`    // $NAME of an environment variable; unchanged if absent
	Repair *bool     `json:"repair"` // unchanged if absent
	// KeysOnly are patterns of tables of which triggers write only keys; unchanged if absent.
	KeysOnly *[]string `json:"keys_only"`
}

// apiPutStream says which tables of a database are captured.
func (s *API) apiPutStream(w http.ResponseWriter, r *http.Request) error {
	ctx, name := r.Context(), r.PathValue("database")
	var request streamRequest
	if err := decode(r, &request); err != nil {
		return err
	}
	if request.Tables == nil || len(*request.Tables) > mostTables || request.KeysOnly != nil && len(*request.KeysOnly) > mostTables || !storable(name) {
		return unprocessable(errors.New(`tables must be a list of patterns, such as ["public.orders"]; an empty one ends the capture`))
	}
	err := s.DB.Tx(ctx, func(tx pgx.Tx) error {
		there, err := stream.Get(ctx, tx, name)
		if err != nil {
			return err
		}
		there.Tables = *request.Tables
		switch {
		case request.URL != "":
			there.URL = request.URL
		case there.URL == "" && name == config.App:
			there.URL = "$DATABASE_URL"
		case there.URL == "":
			return unprocessable(errors.New("the database is unknown: send url, the name of an environment variable of the workers such as $CRM_URL"))
		}
		if request.Repair != nil {
			there.NoRepair = !*request.Repair
		}
		if request.KeysOnly != nil {
			there.KeysOnly = *request.KeysOnly
		}
		made, err := config.PlanCapture(ctx, tx, there)
		if err != nil {
			return err
		}
		return made.Apply(ctx, tx, log.Log{}, via(r.Context()))
	})
	if err != nil {
		return refusedPlan(err)
	}
	all, err := s.streams(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(one streamAnswer) bool { return one.Database == name })
	if at < 0 { // It captures nothing, and never has.
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	reply.JSON(w, "application/json", http.StatusOK, all[at])
	return nil
}

// apiPutConsumer adds a sink or changes its settings, as `daymill apply` does.
func (s *API) apiPutConsumer(w http.ResponseWriter, r *http.Request) error {
	ctx, name := r.Context(), r.PathValue("name")
	var settings map[string]json.RawMessage
	if err := decode(r, &settings); err != nil {
		return err
	}
	if _, has := settings["name"]; has || !storable(name) {
		return unprocessable(errors.New("the address has the name of the sink: send its other settings"))
	}
	status := http.StatusOK
	err := s.DB.Tx(ctx, func(tx pgx.Tx) error {
		made, err := config.PlanSink(ctx, tx, name, settings)
		if err != nil {
			return err
		}
		if made[0].Verb == plan.Create {
			status = http.StatusCreated
		}
		return made.Apply(ctx, tx, log.Log{}, via(r.Context()))
	})
	if err != nil {
		return refusedPlan(err)
	}
	return s.answerConsumer(w, r, status)
}

func refusedPlan(err error) error {
	if mistakes := config.Mistakes(err); len(mistakes) > 0 {
		return unprocessable(errors.New(strings.Join(mistakes, "; ")))
	}
	if errors.Is(err, plan.ErrRefused) {
		return apiError{http.StatusConflict, page.Sentence(err.Error())}
	}
	return err
}
