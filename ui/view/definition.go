package view

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/daymill/daymill/internal/document"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/view/definition"
	"github.com/daymill/daymill/ui/page"
)

func parseID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, page.Mistake(errors.New("drift must be the number of an entry, as the view's page shows it"))
	}
	return id, nil
}

// download answers with the definition of a view as a file, which can be applied again.
func (s *Pages) download(w http.ResponseWriter, r *http.Request) error {
	p, err := s.read(r)
	if err != nil {
		return err
	}
	attach(w, p.Name, p.Definition)
	return nil
}

// attach answers with a definition for the browser to save as a file.
func attach(w http.ResponseWriter, name, text string) {
	header := w.Header()
	header.Set("Content-Type", "application/yaml; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Disposition", "attachment; filename*=UTF-8''"+url.PathEscape(name)+".yaml")
	_, _ = w.Write([]byte(text))
}

// exampleDefinition is what the empty form shows.
const exampleDefinition = `name: order_report
tables:
  - database: app
    table: orders
    columns:
      - {column: id, as: order_id, key: true}
      - total
  - database: app
    table: customers
    to: orders
    join: {customer_id: id}
    columns:
      - {column: name, as: customer}`

// written is the page on which a person writes a definition.
type written struct {
	Text     string
	Mistakes []string
	Steps    []view.Step // what applying it would do; nil before it is checked
	Held     bool        // Apply was pressed, and would have changed a view that the page had not shown
	Changes  []string    // existing views that Apply may change: the page was opened from them, or has shown what it does to them
}

// changes returns the existing views that steps change.
func changes(steps []view.Step) (names []string) {
	for _, step := range steps {
		if step.Verb != view.StepCreate && step.Verb != view.StepKeep {
			names = append(names, step.View)
		}
	}
	return names
}

// showDefinition shows the form, with the definition of a view if the query names one.
func (s *Pages) showDefinition(w http.ResponseWriter, r *http.Request) error {
	var p written
	if name := r.URL.Query().Get("view"); name != "" {
		r.SetPathValue("name", name)
		of, err := s.read(r)
		if err != nil {
			return err
		}
		p.Text, p.Changes = of.Definition, []string{of.Name}
	}
	return s.Render(w, r, http.StatusOK, "Definition", definitionPage(p))
}

// applyDefinition shows what a definition would do, or applies it. It changes no existing view before it has shown that.
func (s *Pages) applyDefinition(w http.ResponseWriter, r *http.Request) error {
	p := written{Text: strings.ReplaceAll(r.PostFormValue("definition"), "\r\n", "\n"), Changes: r.PostForm["change"]}
	apply := r.PostFormValue("action") == "apply"
	var steps []view.Step
	var err error
	for range 2 { // Once more if somebody else has created a view of the name since the plan was made.
		if steps, err = s.plan(r, p.Text); err != nil || !apply {
			break
		}
		if p.Held = p.surprise(steps); p.Held {
			break
		}
		if err = s.Views.Apply(r.Context(), steps, who(r)); !postgres.IsDuplicate(err) {
			break
		}
	}
	if mistakes, is := errors.AsType[document.Mistakes](err); is {
		for _, one := range mistakes {
			p.Mistakes = append(p.Mistakes, one.Error())
		}
	} else if wrong := page.Wrong(refused(err)); wrong != "" {
		p.Mistakes = []string{wrong}
	} else if err != nil {
		return err
	}
	if len(p.Mistakes) > 0 {
		return s.Render(w, r, http.StatusUnprocessableEntity, "Definition", definitionPage(p))
	}
	if !apply || p.Held {
		p.Steps, p.Changes = steps, append(p.Changes, changes(steps)...)
		slices.Sort(p.Changes)
		p.Changes = slices.Compact(p.Changes)
		return s.Render(w, r, http.StatusOK, "Definition", definitionPage(p))
	}
	s.applied(w, r, steps)
	return nil
}

// surprise reports whether steps change an existing view other than those that the page has shown.
func (p *written) surprise(steps []view.Step) bool {
	return slices.ContainsFunc(changes(steps), func(name string) bool { return !slices.Contains(p.Changes, name) })
}

// applied redirects to the view that was applied, or to the list if there are several.
func (s *Pages) applied(w http.ResponseWriter, r *http.Request, steps []view.Step) {
	notice := "unchanged"
	for _, step := range steps {
		if step.Verb != view.StepKeep {
			notice = "building"
		}
	}
	path := []string{"views"}
	if len(steps) == 1 {
		path = append(path, steps[0].View)
	}
	s.Done(w, r, notice, nil, path...)
}

// plan returns what applying the text of a definition would do.
func (s *Pages) plan(r *http.Request, text string) ([]view.Step, error) {
	if !storable(text) {
		return nil, page.Mistake(errors.New("the definition has characters that Postgres cannot store"))
	}
	definitions, err := definition.Parse("definition", []byte(text))
	if err != nil {
		return nil, err
	}
	return s.Views.Plan(r.Context(), definitions)
}
