package view

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/daymill/daymill/internal/document"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/view/definition"
	"github.com/daymill/daymill/internal/view/plan"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

const (
	// maxDraft limits the tables that the builder joins, and maxColumns the columns of each that it shows.
	maxDraft   = 8
	maxColumns = 200
	// maxPairs is how many pairs of columns a join may have in the builder.
	maxPairs = 3
	// sampled is how many of the first rows the builder shows.
	sampled = 5
	// taken is what is wrong with the name of an existing view. A link to the page of that view follows.
	taken = "There is a view of this name already: choose another name, or change that view on"
)

// builder is the page on which a person puts a view together.
type builder struct {
	draft

	All      []view.TableName
	Problems []string          // databases that cannot be reached
	Wrong    map[string]string // by field
	General  string            // what is wrong with the form as a whole
	Summary  string            // how many fields are wrong; empty if the page shows a form that is not complete yet
	Sample   *view.Sample      // nil if there is no table yet, or if the draft has mistakes
	Steps    []view.Step
}

// identify returns a table's name as the value of an option.
func identify(t view.TableName) string {
	return url.PathEscape(t.Database) + "/" + url.PathEscape(t.Schema) + "/" + url.PathEscape(t.Name)
}

func identified(text string) (t view.TableName, is bool) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 || len(text) > 1000 {
		return t, false
	}
	for i, into := range []*string{&t.Database, &t.Schema, &t.Name} {
		part, err := url.PathUnescape(parts[i])
		if err != nil || part == "" || !storable(part) {
			return t, false
		}
		*into = part
	}
	return t, true
}

func (s *Pages) showBuilder(w http.ResponseWriter, r *http.Request) error {
	b := builder{Wrong: map[string]string{}}
	return s.renderBuilder(w, r, http.StatusOK, &b)
}

func (s *Pages) renderBuilder(w http.ResponseWriter, r *http.Request, status int, b *builder) error {
	var err error
	if b.All, b.Problems, err = s.Views.Tables(r.Context()); err != nil {
		return err
	}
	return s.Render(w, r, status, "Build a view", builderPage(*b))
}

// build reads the form, does what its button says, and shows the form again, unless the view was created.
func (s *Pages) build(w http.ResponseWriter, r *http.Request) error {
	form, ctx := r.PostForm, r.Context()
	b := builder{Wrong: map[string]string{}}
	if err := s.draft(ctx, form, &b); err != nil {
		return err
	}
	if at, err := strconv.Atoi(form.Get("remove")); err == nil && at >= 0 && at < len(b.Tables) {
		b.remove(at)
	}
	action := form.Get("action")
	if action == "add" {
		if err := s.add(ctx, form.Get("add"), &b); err != nil {
			return err
		}
	}
	if len(b.Tables) == 0 || b.General != "" || len(b.Wrong) > 0 {
		return s.renderBuilder(w, r, statusOf(&b), &b)
	}
	made, names, err := b.definition()
	if err == nil {
		b.Steps, err = s.Views.Plan(ctx, []definition.Definition{made})
	}
	if err == nil && action != "download" && b.Steps[0].Verb != view.StepCreate {
		b.Wrong["name"] = taken
	}
	if err == nil && action == "create" && len(b.Wrong) == 0 {
		if err = s.create(r, &b); err == nil && len(b.Wrong) == 0 {
			s.applied(w, r, b.Steps)
			return nil
		}
	}
	if err == nil && action == "download" {
		text, err := definition.YAML(made)
		if err != nil {
			return err
		}
		attach(w, made.Name, text)
		return nil
	}
	if mistakes, is := errors.AsType[document.Mistakes](err); is {
		b.Wrong = names.of(mistakes)
		if action == "add" && form.Get("name") == "" {
			delete(b.Wrong, "name") // A new draft has no name yet: that is not shown as a mistake.
		}
	} else if b.General = page.Wrong(refused(err)); b.General == "" && err != nil {
		return err
	}
	if err == nil {
		sample, err := s.Views.Sample(ctx, b.Steps[0], sampled)
		if err != nil {
			return err
		}
		b.Sample = &sample
	}
	status := statusOf(&b)
	if action == "add" {
		status = http.StatusOK
	} else if len(b.Wrong) > 0 {
		b.Summary = "A field below has a mistake: correct it and try again."
		if n := len(b.Wrong); n > 1 {
			b.Summary = format.Number(int64(n)) + " fields below have mistakes: correct them and try again."
		}
	}
	return s.renderBuilder(w, r, status, &b)
}

// create creates the view, unless somebody else has created one of the same name since the plan was made.
func (s *Pages) create(r *http.Request, b *builder) error {
	err := s.Views.Apply(r.Context(), b.Steps, who(r))
	if !postgres.IsDuplicate(err) {
		return err
	}
	if _, none := view.Get(r.Context(), s.DB, b.Steps[0].View); none != nil {
		return err
	}
	b.Wrong["name"] = taken
	return nil
}

func statusOf(b *builder) int {
	if len(b.Wrong) > 0 || b.General != "" {
		return http.StatusUnprocessableEntity
	}
	return http.StatusOK
}

// draft reads the form into b.
func (s *Pages) draft(ctx context.Context, form url.Values, b *builder) error {
	for name, values := range form {
		for _, value := range append([]string{name}, values...) {
			if !storable(value) {
				return page.Mistake(errors.New("the form has characters that Postgres cannot store"))
			}
		}
	}
	b.Name, b.Where, b.Search = strings.TrimSpace(form.Get("name")), strings.TrimSpace(form.Get("where")), form.Get("search")
	b.Every, b.Full = strings.TrimSpace(form.Get("every")), strings.TrimSpace(form.Get("full"))
	if form.Get("drift") == definition.Ask {
		b.Drift = definition.Ask
	}
	for _, text := range form["t"][:min(len(form["t"]), maxDraft)] {
		name, is := identified(text)
		if !is {
			return page.Mistake(errors.New("the form names a table in an unknown way: start again"))
		}
		t, err := s.table(ctx, name)
		if wrong := page.Wrong(err); wrong != "" {
			b.General = wrong
			continue
		}
		if err != nil {
			return err
		}
		t.read(form, strconv.Itoa(len(b.Tables)))
		b.Tables = append(b.Tables, t)
	}
	return nil
}

// table reads a table from its catalog.
func (s *Pages) table(ctx context.Context, name view.TableName) (draftTable, error) {
	t := draftTable{TableName: name}
	source, err := s.Views.Source(ctx, name)
	if errors.Is(err, plan.ErrNoTable) {
		return t, page.Mistake(errors.New("there is no table " + name.Schema + "." + name.Name + " any more: start again"))
	}
	if err != nil {
		return t, refused(err)
	}
	t.More = max(0, len(source.Columns)-maxColumns)
	for _, c := range source.Columns[:min(len(source.Columns), maxColumns)] {
		t.Columns = append(t.Columns, draftColumn{Column: c, IsJSON: c.Type == "json" || c.Type == "jsonb"})
	}
	return t, nil
}

// read reads the form's fields for the table with the given number.
func (t *draftTable) read(form url.Values, number string) {
	t.As, t.Left = strings.TrimSpace(form.Get("as."+number)), form.Get("left."+number) != ""
	t.To, _ = strconv.Atoi(form.Get("to." + number)) // 0 if there is none.
	t.Expressions, t.Changed = strings.ReplaceAll(form.Get("q."+number), "\r\n", "\n"), form.Get("changed."+number)
	for k := range maxPairs {
		at := number + "." + strconv.Itoa(k)
		if first, second := form.Get("f."+at), form.Get("s."+at); first != "" && second != "" {
			t.Pairs = append(t.Pairs, definition.Pair{First: first, Second: second})
		}
	}
	for k := range t.Columns {
		c, at := &t.Columns[k], number+"."+strconv.Itoa(k)
		c.Chosen, c.Key, c.Else = form.Get("c."+at) != "", form.Get("k."+at) != "", form.Get("e."+at) != ""
		c.As, c.Transform = strings.TrimSpace(form.Get("n."+at)), strings.ReplaceAll(form.Get("x."+at), "\r\n", "\n")
	}
}

// add adds a table, and joins it by a foreign key if it has one to an earlier table, or the other way round.
func (s *Pages) add(ctx context.Context, text string, b *builder) error {
	name, is := identified(text)
	switch {
	case !is:
		b.Wrong["add"] = "choose a table"
		return nil
	case len(b.Tables) == maxDraft:
		b.Wrong["add"] = "the builder joins " + strconv.Itoa(maxDraft) + " tables at most: write a definition for more"
		return nil
	}
	t, err := s.table(ctx, name)
	if wrong := page.Wrong(err); wrong != "" {
		b.Wrong["add"] = wrong
		return nil
	}
	if err != nil {
		return err
	}
	taken := func(as string) bool {
		return slices.ContainsFunc(b.Tables, func(other draftTable) bool { return other.alias() == as })
	}
	t.As = t.Name
	for n := 2; taken(t.As); n++ {
		t.As = t.Name + "_" + strconv.Itoa(n)
	}
	names := map[string]bool{}
	for _, other := range b.Tables {
		for _, c := range other.Columns {
			names[c.output()] = names[c.output()] || c.Chosen
		}
	}
	for k := range t.Columns {
		c := &t.Columns[k]
		if c.Chosen, c.As = true, c.Name; names[c.Name] {
			c.As = t.As + "_" + c.Name // The names of a view's columns are unique.
		}
	}
	joined, err := s.Views.Source(ctx, name)
	if err != nil {
		return refused(err)
	}
	for i, earlier := range b.Tables {
		if earlier.Database != t.Database {
			continue
		}
		source, err := s.Views.Source(ctx, earlier.TableName)
		if err != nil {
			return refused(err)
		}
		pairs, err := s.Views.Suggest(ctx, t.Database, source, joined)
		if err != nil {
			return refused(err)
		}
		if len(pairs) > 0 && len(pairs) <= maxPairs {
			t.To, t.Pairs = i, pairs
			break
		}
	}
	b.Tables = append(b.Tables, t)
	return nil
}

func (c draftColumn) output() string {
	if c.As != "" {
		return c.As
	}
	return c.Name
}

// remove removes a table, and adjusts the joins of the remaining ones.
func (b *builder) remove(at int) {
	b.Tables = slices.Delete(b.Tables, at, at+1)
	for i := range b.Tables {
		t := &b.Tables[i]
		switch {
		case i == 0 || t.To == at && i >= at:
			t.To, t.Pairs = 0, nil
		case t.To > at:
			t.To--
		}
	}
}

// pair returns the kth pair of columns of the join, or an empty pair if there are fewer.
func (t *draftTable) pair(k int) definition.Pair {
	if k < len(t.Pairs) {
		return t.Pairs[k]
	}
	return definition.Pair{}
}

// invalid returns the ARIA attributes of a field: none if it has no mistake.
func invalid(b builder, name string) templ.Attributes {
	if b.Wrong[name] == "" {
		return templ.Attributes{}
	}
	return templ.Attributes{"aria-invalid": "true", "aria-describedby": "wrong-" + name}
}

func placeholder(c draftColumn) string {
	if c.IsJSON {
		return "city = address.city"
	}
	return "1 = paid"
}

func transformLabel(c draftColumn, name string) string {
	if c.IsJSON {
		return "JSON fields of " + name
	}
	return "Values of " + name
}
