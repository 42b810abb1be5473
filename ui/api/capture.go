package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/report"
	"github.com/daymill/daymill/internal/capture/snapshot"
	"github.com/daymill/daymill/internal/capture/standing"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/ui/page"
	"github.com/daymill/daymill/ui/reply"
)

var (
	errNoSink     = apiError{http.StatusNotFound, "There is no such consumer."}
	errNoSnapshot = apiError{http.StatusNotFound, "There is no unfinished snapshot with this id."}
)

// streamAnswer is a stream with its tables.
type streamAnswer struct {
	report.Stream

	Tables []report.Table `json:"tables"`
}

type streamsAnswer struct {
	Streams []streamAnswer `json:"streams"`
}

// apiListStreams lists the streams with their tables, gaps and snapshots in progress.
func (s *API) apiListStreams(w http.ResponseWriter, r *http.Request) error {
	all, err := s.streams(r.Context())
	if err != nil {
		return err
	}
	reply.JSON(w, "application/json", http.StatusOK, streamsAnswer{Streams: all})
	return nil
}

func (s *API) streams(ctx context.Context) ([]streamAnswer, error) {
	answers := []streamAnswer{}
	err := s.DB.Read(ctx, func(on postgres.DBTX) error {
		all, err := stream.List(ctx, on, s.Clock.Now())
		if err != nil {
			return err
		}
		for _, one := range all {
			list, err := snapshot.List(ctx, on, one.Name, "")
			if err != nil {
				return err
			}
			open := slices.DeleteFunc(list, func(p snapshot.Snapshot) bool { return p.FinishedAt != nil })
			answers = append(answers, streamAnswer{Stream: report.OfStream(one, open), Tables: report.OfTables(one.Captured)})
		}
		return nil
	})
	return answers, err
}

// sinkAnswer is a consumer and how far it is behind.
type sinkAnswer struct {
	report.Sink

	Behind     int64   `json:"behind"`
	LagSeconds float64 `json:"lag_seconds"`
}

func newSinkAnswer(one standing.Lag) sinkAnswer {
	return sinkAnswer{Sink: report.OfSink(one.Progress), Behind: one.Behind, LagSeconds: one.Lag.Seconds()}
}

type sinksAnswer struct {
	Consumers []sinkAnswer `json:"consumers"`
}

// apiListConsumers lists all consumers.
func (s *API) apiListConsumers(w http.ResponseWriter, r *http.Request) error {
	answer := sinksAnswer{Consumers: []sinkAnswer{}}
	err := s.DB.Read(r.Context(), func(on postgres.DBTX) error {
		all, err := standing.Lags(r.Context(), on, s.Clock.Now())
		for _, one := range all {
			answer.Consumers = append(answer.Consumers, newSinkAnswer(one))
		}
		return err
	})
	if err != nil {
		return err
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// oneSinkAnswer is a consumer with its settings, shards and snapshots.
type oneSinkAnswer struct {
	sinkAnswer
	report.Details

	Snapshots []report.Snapshot `json:"snapshots"`
}

// apiShowConsumer returns one consumer.
func (s *API) apiShowConsumer(w http.ResponseWriter, r *http.Request) error {
	return s.answerConsumer(w, r, http.StatusOK)
}

func (s *API) answerConsumer(w http.ResponseWriter, r *http.Request, status int) error {
	ctx, name := r.Context(), r.PathValue("name")
	var answer oneSinkAnswer
	err := s.DB.Read(ctx, func(on postgres.DBTX) error {
		all, err := standing.Lags(ctx, on, s.Clock.Now())
		if err != nil {
			return err
		}
		at := slices.IndexFunc(all, func(one standing.Lag) bool { return one.Name == name })
		if at < 0 {
			return errNoSink
		}
		shards, err := consumer.Shards(ctx, on, name)
		if err != nil {
			return err
		}
		list, err := snapshot.List(ctx, on, "", name)
		answer = oneSinkAnswer{sinkAnswer: newSinkAnswer(all[at]), Details: report.OfDetails(all[at].Consumer, shards), Snapshots: []report.Snapshot{}}
		for _, one := range list {
			answer.Snapshots = append(answer.Snapshots, report.OfSnapshot(one))
		}
		return err
	})
	if err != nil {
		return err
	}
	reply.JSON(w, "application/json", status, answer)
	return nil
}

// changeConsumer changes a consumer, and answers with its new state.
func (s *API) changeConsumer(w http.ResponseWriter, r *http.Request, change func(tx pgx.Tx, name string) error) error {
	name := r.PathValue("name")
	if !storable(name) {
		return errNoSink
	}
	err := s.DB.Tx(r.Context(), func(tx pgx.Tx) error { return change(tx, name) })
	switch {
	case errors.Is(err, consumer.ErrNone):
		return errNoSink
	case errors.Is(err, consumer.ErrPosition), errors.Is(err, snapshot.ErrTable):
		return unprocessable(err)
	case err != nil:
		return err
	}
	return s.apiShowConsumer(w, r)
}

type pauseRequest struct {
	Because string `json:"because"` // for people
}

// apiPauseConsumer pauses a consumer.
func (s *API) apiPauseConsumer(w http.ResponseWriter, r *http.Request) error {
	var request pauseRequest
	if err := decode(r, &request); err != nil {
		return err
	}
	if len(request.Because) > page.LongestText || !storable(request.Because) {
		return unprocessable(errors.New("because must be UTF-8 of " + strconv.Itoa(page.LongestText) + " bytes at most"))
	}
	return s.changeConsumer(w, r, func(tx pgx.Tx, name string) error {
		return consumer.Pause(r.Context(), tx, name, request.Because, via(r.Context()))
	})
}

// apiResumeConsumer resumes a consumer.
func (s *API) apiResumeConsumer(w http.ResponseWriter, r *http.Request) error {
	if err := decode(r, &struct{}{}); err != nil {
		return err
	}
	return s.changeConsumer(w, r, func(tx pgx.Tx, name string) error { return consumer.Resume(r.Context(), tx, name, via(r.Context())) })
}

type rewindRequest struct {
	To *int64 `json:"to"`
}

// apiRewindConsumer moves a consumer to another position of the log.
func (s *API) apiRewindConsumer(w http.ResponseWriter, r *http.Request) error {
	var request rewindRequest
	if err := decode(r, &request); err != nil {
		return err
	}
	if request.To == nil || *request.To < 0 {
		return unprocessable(errors.New("to must be a position of the log, or 0 for its beginning"))
	}
	return s.changeConsumer(w, r, func(tx pgx.Tx, name string) error {
		return consumer.Rewind(r.Context(), tx, name, *request.To, via(r.Context()))
	})
}

// mostTables is how many tables a call may name.
const mostTables = 1000

type snapshotRequest struct {
	Tables []string `json:"tables"` // all that the consumer receives if empty
}

// apiSnapshotConsumer requests a snapshot for a consumer.
func (s *API) apiSnapshotConsumer(w http.ResponseWriter, r *http.Request) error {
	var request snapshotRequest
	if err := decode(r, &request); err != nil {
		return err
	}
	if len(request.Tables) > mostTables || slices.ContainsFunc(request.Tables, func(t string) bool { return !storable(t) }) {
		return unprocessable(errors.New("tables must be names such as public.orders, " + strconv.Itoa(mostTables) + " at most"))
	}
	return s.changeConsumer(w, r, func(tx pgx.Tx, name string) error {
		return snapshot.RequestFor(r.Context(), tx, name, request.Tables, via(r.Context()))
	})
}

// apiRemoveConsumer removes a consumer.
func (s *API) apiRemoveConsumer(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if !storable(name) {
		return errNoSink
	}
	err := s.DB.Tx(r.Context(), func(tx pgx.Tx) error { return consumer.Remove(r.Context(), tx, name, via(r.Context())) })
	if errors.Is(err, consumer.ErrNone) {
		return errNoSink
	}
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

type snapshotsAnswer struct {
	Snapshots []report.Snapshot `json:"snapshots"`
}

// apiListSnapshots lists the latest snapshots.
func (s *API) apiListSnapshots(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	database, name := query.Get("database"), query.Get("consumer")
	if !storable(database) || !storable(name) {
		return unprocessable(errors.New("database and consumer must be names"))
	}
	answer := snapshotsAnswer{Snapshots: []report.Snapshot{}}
	err := s.DB.Read(r.Context(), func(on postgres.DBTX) error {
		list, err := snapshot.List(r.Context(), on, database, name)
		for _, one := range list {
			answer.Snapshots = append(answer.Snapshots, report.OfSnapshot(one))
		}
		return err
	})
	if err != nil {
		return err
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

type actionRequest struct {
	Action string `json:"action"`
}

// apiChangeSnapshot pauses, resumes, restarts or cancels a snapshot.
func (s *API) apiChangeSnapshot(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	id, err := apiID(r, "snapshot")
	if err != nil {
		return err
	}
	var request actionRequest
	if err := decode(r, &request); err != nil {
		return err
	}
	change := snapshot.Pause
	switch request.Action {
	case "pause":
	case "resume":
		change = snapshot.Resume
	case "restart":
		change = snapshot.Restart
	case "cancel":
		change = snapshot.Cancel
	default:
		return unprocessable(errors.New("action must be pause, resume, restart or cancel"))
	}
	err = s.DB.Tx(ctx, func(tx pgx.Tx) error { return change(ctx, tx, id, via(r.Context())) })
	if errors.Is(err, snapshot.ErrNone) {
		return errNoSnapshot
	}
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}
