package capture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/plan"
	"github.com/daymill/daymill/internal/capture/sink/kind"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/config"
	"github.com/daymill/daymill/ui/page"
)

// longestForm is the longest text of a field, in bytes, and mostPatterns how many patterns one may have.
const (
	longestForm  = 20_000
	mostPatterns = 1_000
)

// tablesForm is a form that says which tables of a database are captured.
type tablesForm struct {
	Database string
	URL      string // $NAME of an environment variable
	Tables   string // patterns, one per line
	KeysOnly string // likewise
	NoRepair bool
	New      bool   // the database is not captured yet
	First    bool   // no database is captured yet
	Wrong    string // what is wrong in the form
}

// tablesForms returns a form for each stream, and one for a database that is not captured.
func tablesForms(views []streamView) []tablesForm {
	next := tablesForm{Database: config.App, URL: "$DATABASE_URL", New: true, First: len(views) == 0}
	var forms []tablesForm
	for _, view := range views {
		forms = append(forms, tablesForm{
			Database: view.Name, URL: view.URL, Tables: strings.Join(view.Tables, "\n"), KeysOnly: strings.Join(view.KeysOnly, "\n"), NoRepair: view.NoRepair,
		})
		if view.Name == config.App {
			next.Database, next.URL = "", ""
		}
	}
	return append(forms, next)
}

// entered reads a text of a form.
func entered(form url.Values, name string) (string, error) {
	text := strings.TrimSpace(strings.ReplaceAll(form.Get(name), "\r\n", "\n"))
	if len(text) > longestForm || strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
		return "", page.Mistake(fmt.Errorf("the field %s is too long, or is not text", name))
	}
	return text, nil
}

// lines returns the patterns in a text.
func lines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ',' || r == ' ' || r == '\t' })
}

// refused turns what is wrong with settings into a mistake.
func refused(err error) error {
	if mistakes := config.Mistakes(err); len(mistakes) > 0 {
		return page.Mistake(errors.New(strings.Join(mistakes, "; ")))
	}
	if errors.Is(err, plan.ErrRefused) || errors.Is(err, consumer.ErrExists) {
		return page.Mistake(err)
	}
	return err
}

// captureTables sets which tables of a database are captured.
func (s *Pages) captureTables(w http.ResponseWriter, r *http.Request) error {
	var form tablesForm
	for name, to := range map[string]*string{"database": &form.Database, "url": &form.URL, "tables": &form.Tables, "keys_only": &form.KeysOnly} {
		var err error
		if *to, err = entered(r.PostForm, name); err != nil {
			return err
		}
	}
	form.New, form.NoRepair = r.PostFormValue("new") != "", r.PostFormValue("repair") == ""
	err := refused(s.capture(r.Context(), r, form))
	if form.Wrong = page.Wrong(err); form.Wrong == "" {
		if err == nil {
			s.Done(w, r, "captured", nil, "capture")
		}
		return err
	}
	views, err := s.readStreams(r.Context())
	if err != nil {
		return err
	}
	forms := tablesForms(views)
	for i := range forms {
		if forms[i].New == form.New && (form.New || forms[i].Database == form.Database) {
			forms[i] = form
		}
	}
	return s.Render(w, r, page.StatusOf(form.Wrong), "Capture", streamsPage(views, forms))
}

func (s *Pages) capture(ctx context.Context, r *http.Request, form tablesForm) error {
	tables, keysOnly := lines(form.Tables), lines(form.KeysOnly)
	switch {
	case form.Database == "":
		return page.Mistake(errors.New("the database has no name: give one such as crm"))
	case form.New && len(tables) == 0:
		return page.Mistake(errors.New("no tables are named: write public.orders, public.order_* or a schema"))
	case len(tables) > mostPatterns || len(keysOnly) > mostPatterns:
		return page.Mistake(fmt.Errorf("there are more than %d patterns: name a schema instead", mostPatterns))
	}
	return s.DB.Tx(ctx, func(tx pgx.Tx) error {
		there, err := stream.Get(ctx, tx, form.Database)
		if err != nil {
			return err
		}
		if form.New && len(there.Tables) > 0 {
			return page.Mistake(errors.New("tables of this database are captured already: change its own form"))
		}
		there.Name, there.URL, there.Tables, there.KeysOnly, there.NoRepair = form.Database, form.URL, tables, keysOnly, form.NoRepair
		made, err := config.PlanCapture(ctx, tx, there)
		if err != nil {
			return err
		}
		return made.Apply(ctx, tx, log.Log{}, who(r))
	})
}

// sinkForm is a form that adds a sink.
type sinkForm struct {
	Name, Kind, URL, Tables, Database, Shards, From string
	More                                            string // further settings, as a JSON object
	Wrong                                           string
}

// kinds are the kinds of sinks, for the form.
func kinds() []string { return kind.Names() }

// addSink adds a sink.
func (s *Pages) addSink(w http.ResponseWriter, r *http.Request) error {
	var form sinkForm
	for name, to := range map[string]*string{
		"name": &form.Name, "kind": &form.Kind, "url": &form.URL, "tables": &form.Tables, "database": &form.Database, "shards": &form.Shards,
		"from": &form.From, "more": &form.More,
	} {
		var err error
		if *to, err = entered(r.PostForm, name); err != nil {
			return err
		}
	}
	err := refused(s.sink(r.Context(), r, form))
	if form.Wrong = page.Wrong(err); form.Wrong != "" {
		return s.renderConsumers(w, r, form)
	}
	if err == nil {
		s.Done(w, r, "sink", nil, "consumers", form.Name)
	}
	return err
}

func (s *Pages) sink(ctx context.Context, r *http.Request, form sinkForm) error {
	settings := map[string]json.RawMessage{}
	if form.More != "" && json.Unmarshal([]byte(form.More), &settings) != nil {
		return page.Mistake(errors.New(`further settings are a JSON object, such as {"secret": "$EVENTS_SECRET", "batch": true}`))
	}
	for name, text := range map[string]string{"kind": form.Kind, "url": form.URL, "database": form.Database, "from": form.From} {
		if text != "" {
			settings[name], _ = json.Marshal(text) //nolint:errchkjson // A text always has a form in JSON.
		}
	}
	if tables := lines(form.Tables); len(tables) > 0 {
		settings["tables"], _ = json.Marshal(tables) //nolint:errchkjson // As above.
	}
	if form.Shards != "" {
		if settings["shards"] = json.RawMessage(form.Shards); !json.Valid(settings["shards"]) {
			return page.Mistake(errors.New("shards is a number from 1 to 64"))
		}
	}
	return s.DB.Tx(ctx, func(tx pgx.Tx) error {
		if _, err := consumer.Get(ctx, tx, form.Name); err == nil {
			return page.Mistake(errors.New("there is another consumer with this name: give another"))
		}
		made, err := config.PlanSink(ctx, tx, form.Name, settings)
		if err != nil {
			return err
		}
		return made.Apply(ctx, tx, log.Log{}, who(r))
	})
}

// unswept reports whether a consumer is not told which rows were deleted during a gap.
func unswept(c consumer.Consumer) bool {
	var settings struct {
		kind.Settings

		Sweeps bool `json:"sweeps"`
	}
	if json.Unmarshal(c.Settings, &settings) != nil {
		return false
	}
	switch c.Kind {
	case kind.Search:
		return true
	case kind.Poll:
		return !slices.Contains(settings.Ops, change.Sweep)
	case "function":
		return !settings.Sweeps
	case kind.Redis:
		return settings.Stream == ""
	default:
		return false
	}
}
