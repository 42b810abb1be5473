package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/document"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/view/definition"
	"github.com/daymill/daymill/ui/reply"
)

var (
	errNoView  = apiError{http.StatusNotFound, "There is no view of that name."}
	errNoTask  = apiError{http.StatusNotFound, "There is no such task."}
	errNoViews = apiError{http.StatusNotFound, "This process has no views."}
)

func (s *API) viewRoutes() []apiRoute {
	return []apiRoute{
		{http.MethodGet, "/api/views", byUser, s.apiListViews},
		{http.MethodPost, "/api/views", byUser, s.apiApplyViews},
		{http.MethodGet, "/api/views/{name}", byUser, s.apiShowView},
		{http.MethodDelete, "/api/views/{name}", byUser, s.apiRemoveView},
		{http.MethodPost, "/api/views/{name}/drift", byUser, s.apiDecideDrift},
		{http.MethodPost, "/api/views/{name}/pause", byUser, s.apiPauseView},
		{http.MethodPost, "/api/views/{name}/rebuild", byUser, s.apiRebuildView},
		{http.MethodPost, "/api/views/{name}/refresh", byUser, s.apiRefreshView},
		{http.MethodPost, "/api/views/{name}/resume", byUser, s.apiResumeView},
		{http.MethodGet, "/api/views/{name}/sql", byUser, s.apiShowViewSQL},
		{http.MethodPost, "/api/views/{name}/verify", byUser, s.apiVerifyView},
		{http.MethodGet, "/api/tasks/{id}", byUser, s.apiShowTask},
		{http.MethodGet, "/api/view.schema.json", byAnyone, s.apiShowViewSchema},
	}
}

// named returns the view in a call's path.
func (s *API) named(r *http.Request, on postgres.DBTX) (view.View, error) {
	if !storable(r.PathValue("name")) {
		return view.View{}, errNoView
	}
	v, err := view.Get(r.Context(), on, r.PathValue("name"))
	return v, refusedView(err)
}

// refusedView returns the API's error for an error of package view that the caller can fix.
func refusedView(err error) error {
	var mistakes document.Mistakes
	switch {
	case errors.Is(err, view.ErrNone):
		return errNoView
	case errors.Is(err, view.ErrNoTask):
		return errNoTask
	case errors.As(err, &mistakes):
		return unprocessable(errors.New("the definition cannot be used: " + strings.ReplaceAll(mistakes.Error(), "\n", "; ")))
	case view.IsRefused(err):
		return unprocessable(err)
	default:
		return err
	}
}

type viewsAnswer struct {
	Views []view.Report `json:"views"`
}

// apiListViews lists all views.
func (s *API) apiListViews(w http.ResponseWriter, r *http.Request) error {
	answer := viewsAnswer{Views: []view.Report{}}
	err := s.DB.Read(r.Context(), func(on postgres.DBTX) error {
		reports, err := view.Reports(r.Context(), on)
		answer.Views = append(answer.Views, reports...)
		return err
	})
	if err != nil {
		return err
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// apiShowViewSchema serves the JSON Schema of definitions. Editors send no token, and the schema is the same everywhere.
func (*API) apiShowViewSchema(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/schema+json")
	_, _ = io.WriteString(w, definition.Schema) // The client closed the connection.
	return nil
}

type applyViewsRequest struct {
	// Definition is a definition as a JSON object, or a file's text: YAML or JSON.
	Definition json.RawMessage `json:"definition"`
	DryRun     bool            `json:"dry_run"`
}

type applyViewsAnswer struct {
	Steps []view.Step `json:"steps"`
}

// apiApplyViews makes views match definitions, or returns what that would do.
func (s *API) apiApplyViews(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	if s.Views == nil {
		return errNoViews
	}
	var request applyViewsRequest
	if err := decode(r, &request); err != nil {
		return err
	}
	var text string
	if err := json.Unmarshal(request.Definition, &text); err != nil {
		text = string(request.Definition)
	}
	if strings.TrimSpace(text) == "" {
		return unprocessable(errors.New("definition is missing: give a definition of a view, as docs/views.md describes it"))
	}
	definitions, err := definition.Parse("definition", []byte(text))
	if err != nil {
		return refusedView(err)
	}
	steps, err := s.Views.Plan(ctx, definitions)
	if err != nil {
		return refusedView(err)
	}
	status := http.StatusOK
	if !request.DryRun {
		if err := s.Views.Apply(ctx, steps, via(ctx)); err != nil {
			return refusedView(err)
		}
		status = http.StatusAccepted
	}
	reply.JSON(w, "application/json", status, applyViewsAnswer{Steps: steps})
	return nil
}

type viewAnswer struct {
	view.Report

	Tasks []view.Task  `json:"tasks"`
	Drift []view.Drift `json:"drift"`
	// Definition is YAML, to be applied again.
	Definition string `json:"definition"`
}

// apiShowView shows one view.
func (s *API) apiShowView(w http.ResponseWriter, r *http.Request) error {
	var answer viewAnswer
	err := s.DB.Read(r.Context(), func(on postgres.DBTX) error {
		v, err := s.named(r, on)
		if err != nil {
			return err
		}
		if answer.Report, err = v.Report(r.Context(), on); err != nil {
			return err
		}
		answer.Tasks, answer.Drift = append([]view.Task{}, answer.Report.Tasks...), append([]view.Drift{}, answer.Report.Drift...)
		answer.Definition, err = answer.Report.Definition()
		return err
	})
	if err != nil {
		return err
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// apiShowViewSQL shows the SQL of a view.
func (s *API) apiShowViewSQL(w http.ResponseWriter, r *http.Request) error {
	var sql view.SQL
	err := s.DB.Read(r.Context(), func(on postgres.DBTX) error {
		v, err := s.named(r, on)
		if err != nil {
			return err
		}
		sql, err = v.SQL(r.Context(), on)
		return err
	})
	if err != nil {
		return refusedView(err)
	}
	reply.JSON(w, "application/json", http.StatusOK, sql)
	return nil
}

// apiRemoveView removes a view and drops its table.
func (s *API) apiRemoveView(w http.ResponseWriter, r *http.Request) error {
	if s.Views == nil {
		return errNoViews
	}
	v, err := s.named(r, s.DB)
	if err != nil {
		return err
	}
	if err := s.Views.Remove(r.Context(), v.Name, via(r.Context())); err != nil {
		return refusedView(err)
	}
	nothing(w)
	return nil
}

// nothing answers with status 204 and no content.
func nothing(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

type tasksAnswer struct {
	TaskIDs []int64 `json:"task_ids"`
}

// ask requests that a worker does something to a view.
func (s *API) ask(w http.ResponseWriter, r *http.Request, into any, do func(name string) ([]int64, error)) error {
	if s.Views == nil {
		return errNoViews
	}
	if err := decode(r, into); err != nil {
		return err
	}
	v, err := s.named(r, s.DB)
	if err != nil {
		return err
	}
	tasks, err := do(v.Name)
	if err != nil {
		return refusedView(err)
	}
	reply.JSON(w, "application/json", http.StatusAccepted, tasksAnswer{TaskIDs: tasks})
	return nil
}

// apiRebuildView rebuilds a view's table, while the current one serves.
func (s *API) apiRebuildView(w http.ResponseWriter, r *http.Request) error {
	return s.ask(w, r, &struct{}{}, func(name string) ([]int64, error) {
		id, err := s.Views.Rebuild(r.Context(), name, via(r.Context()))
		return []int64{id}, err
	})
}

type refreshViewRequest struct {
	// Keys are keys of the root table: a value each, or an array of values if the key has several columns. All rows if absent.
	Keys []json.RawMessage `json:"keys"`
}

// keys returns the keys as texts; nil for all rows.
func (q refreshViewRequest) keys() ([][]string, error) {
	if q.Keys == nil {
		return nil, nil
	}
	texts := make([]string, len(q.Keys))
	for i, key := range q.Keys {
		texts[i] = string(key)
	}
	return view.ParseKeys(texts)
}

// apiRefreshView computes rows of a view again.
func (s *API) apiRefreshView(w http.ResponseWriter, r *http.Request) error {
	var request refreshViewRequest
	return s.ask(w, r, &request, func(name string) ([]int64, error) {
		keys, err := request.keys()
		if err != nil {
			return nil, err
		}
		return s.Views.Refresh(r.Context(), name, keys, via(r.Context()))
	})
}

type verifyViewRequest struct {
	Repair bool `json:"repair"`
}

// apiVerifyView compares a view with its SELECT.
func (s *API) apiVerifyView(w http.ResponseWriter, r *http.Request) error {
	var request verifyViewRequest
	return s.ask(w, r, &request, func(name string) ([]int64, error) {
		return s.Views.Verify(r.Context(), name, request.Repair, via(r.Context()))
	})
}

type driftRequest struct {
	Decision string  `json:"decision"` // accept or reject
	IDs      []int64 `json:"ids"`      // of drift entries; all open ones if absent
}

type driftAnswer struct {
	Decided int `json:"decided"`
}

// apiDecideDrift accepts or rejects changes of a view's tables.
func (s *API) apiDecideDrift(w http.ResponseWriter, r *http.Request) error {
	if s.Views == nil {
		return errNoViews
	}
	var request driftRequest
	if err := decode(r, &request); err != nil {
		return err
	}
	if request.Decision != "accept" && request.Decision != "reject" {
		return unprocessable(errors.New("decision must be accept or reject"))
	}
	v, err := s.named(r, s.DB)
	if err != nil {
		return err
	}
	decided, err := s.Views.Decide(r.Context(), v.Name, request.Decision == "accept", request.IDs, via(r.Context()))
	if err != nil {
		return refusedView(err)
	}
	reply.JSON(w, "application/json", http.StatusOK, driftAnswer{Decided: decided})
	return nil
}

type pauseViewRequest struct {
	Because string `json:"because"`
}

// apiPauseView pauses a view, so that its rows no longer change.
func (s *API) apiPauseView(w http.ResponseWriter, r *http.Request) error {
	var request pauseViewRequest
	if err := decode(r, &request); err != nil {
		return err
	}
	if len(request.Because) > 1000 || !storable(request.Because) {
		return unprocessable(errors.New("because must be UTF-8 of 1000 bytes at most"))
	}
	return s.changeView(w, r, func(tx pgx.Tx, v view.View) error {
		return view.Pause(r.Context(), tx, v, request.Because, via(r.Context()))
	})
}

// apiResumeView resumes a paused view.
func (s *API) apiResumeView(w http.ResponseWriter, r *http.Request) error {
	if err := decode(r, &struct{}{}); err != nil {
		return err
	}
	return s.changeView(w, r, func(tx pgx.Tx, v view.View) error { return view.Resume(r.Context(), tx, v, via(r.Context())) })
}

func (s *API) changeView(w http.ResponseWriter, r *http.Request, do func(tx pgx.Tx, v view.View) error) error {
	err := s.DB.Tx(r.Context(), func(tx pgx.Tx) error {
		v, err := s.named(r, tx)
		if err != nil {
			return err
		}
		return do(tx, v)
	})
	if err != nil {
		return refusedView(err)
	}
	nothing(w)
	return nil
}

// apiShowTask shows a task of a view.
func (s *API) apiShowTask(w http.ResponseWriter, r *http.Request) error {
	id, err := apiID(r, "task")
	if err != nil {
		return err
	}
	var t view.Task
	err = s.DB.Read(r.Context(), func(on postgres.DBTX) error {
		t, err = view.GetTask(r.Context(), on, id)
		return err
	})
	if err != nil {
		return refusedView(err)
	}
	reply.JSON(w, "application/json", http.StatusOK, t)
	return nil
}
