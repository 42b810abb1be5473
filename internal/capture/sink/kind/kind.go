// Package kind lists the kinds of sinks, with the settings of each kind, their checks, and how to open a sink. Settings contain no
// secrets: for a setting that may be secret, they have the name of an environment variable, which is read when the sink is opened.
package kind

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/sink/clickhouse"
	"github.com/daymill/daymill/internal/capture/sink/kafka"
	"github.com/daymill/daymill/internal/capture/sink/nats"
	"github.com/daymill/daymill/internal/capture/sink/postgres"
	"github.com/daymill/daymill/internal/capture/sink/redis"
	"github.com/daymill/daymill/internal/capture/sink/search"
	"github.com/daymill/daymill/internal/capture/sink/webhook"
	"github.com/daymill/daymill/internal/capture/template"
	database "github.com/daymill/daymill/internal/postgres"
)

// The kinds of sinks.
const (
	Webhook  = "webhook"
	Redis    = "redis"
	Search   = "search"
	Postgres = "postgres"
	Kafka    = "kafka"
	NATS     = "nats"

	ClickHouse = "clickhouse"
	// Poll is a consumer that fetches its changes itself, with capture.poll or over HTTP.
	Poll = "poll"
)

// Names returns the kinds, in the order in which messages list them.
func Names() []string {
	return []string{Webhook, Redis, Search, Postgres, ClickHouse, Kafka, NATS, Poll}
}

// ErrSettings says that settings cannot be used.
var ErrSettings = errors.New("the settings cannot be used")

// Settings are the settings of a sink. [Fields] says which ones a kind has.
type Settings struct {
	filter.Config

	URL    string `json:"url,omitempty"`    // $NAME of an environment variable
	Secret string `json:"secret,omitempty"` // $NAME of an environment variable

	Batch        bool     `json:"batch,omitempty"`
	AllowPrivate bool     `json:"allow_private,omitempty"`
	Delete       []string `json:"delete,omitempty"` // templates
	Set          string   `json:"set,omitempty"`    // template
	Hash         string   `json:"hash,omitempty"`   // template
	Stream       string   `json:"stream,omitempty"` // template for Redis; a name for NATS
	MaxLen       int64    `json:"max_len,omitempty"`
	Index        string   `json:"index,omitempty"` // template
	Topic        string   `json:"topic,omitempty"` // template
	CreateTopics bool     `json:"create_topics,omitempty"`
	Subject      string   `json:"subject,omitempty"`
	Schema       string   `json:"schema,omitempty"`

	// OnSchemaChange is what to do if a table's columns change in other ways than by a new column: OnChangeContinue or OnChangePause. If
	// empty, sinks that keep a table or an index are paused, and others continue.
	OnSchemaChange string `json:"on_schema_change,omitempty"`
}

// Fields returns the settings of a kind, without url and the filter's, which all kinds have.
func Fields(kind string) []string {
	switch kind {
	case Webhook:
		return []string{"secret", "batch", "allow_private"}
	case Redis:
		return []string{"delete", "set", "hash", "stream", "max_len"}
	case Search:
		return []string{"index"}
	case Postgres, ClickHouse:
		return []string{"schema"}
	case Kafka:
		return []string{"topic", "create_topics"}
	case NATS:
		return []string{"subject", "stream"}
	default:
		return nil
	}
}

var reference = regexp.MustCompile(`^\$([A-Za-z_][A-Za-z0-9_]*)$`)

// Variable returns the name in a reference to an environment variable, such as $SEARCH_URL, and false if the text is not a reference.
func Variable(text string) (string, bool) {
	match := reference.FindStringSubmatch(text)
	if match == nil {
		return "", false
	}
	return match[1], true
}

// Problem is a mistake in one setting.
type Problem struct {
	Field string
	Err   error
}

// Check returns the mistakes in the settings of a kind. It does not read the environment.
func Check(kind string, s Settings) []Problem {
	var problems []Problem
	wrong := func(field string, err error) {
		if err != nil {
			problems = append(problems, Problem{field, err})
		}
	}
	for _, named := range []struct{ field, text string }{{"url", s.URL}, {"secret", s.Secret}} {
		if _, ok := Variable(named.text); !ok && (named.text != "" || named.field == "url" && kind != Poll) {
			// The value may be a secret, so do not quote it.
			wrong(named.field, fmt.Errorf("write the name of an environment variable, such as $%s_%s: settings are stored, so they must not contain secrets",
				strings.ToUpper(kind), strings.ToUpper(named.field)))
		}
	}
	for _, named := range []struct{ field, text string }{{"set", s.Set}, {"hash", s.Hash}, {"index", s.Index}, {"topic", s.Topic}} {
		if named.text != "" {
			_, err := template.Parse(named.text)
			wrong(named.field, err)
		}
	}
	for _, text := range s.Delete {
		_, err := template.Parse(text)
		wrong("delete", err)
	}
	switch {
	case kind == Redis && len(s.Delete) == 0 && s.Set == "" && s.Hash == "" && s.Stream == "":
		wrong("kind", errors.New("say what to do in Redis: delete, set, hash or stream, such as set: \"order:{{ .key.id }}\""))
	case kind == Redis && s.Stream != "":
		_, err := template.Parse(s.Stream)
		wrong("stream", err)
	case kind == Search && s.Index == "":
		wrong("kind", errors.New("say which index: index: orders")) //nolint:dupword // The second is the setting.
	case kind == Poll && (len(s.Columns)+len(s.Without)+len(s.Rename) > 0 || s.Condition != ""):
		wrong("kind", errors.New("a poller receives whole changes: select them with tables and ops"))
	case kind != Poll && slices.Contains(s.Ops, change.Sweep):
		wrong("ops", errors.New("sweep is an operation for pollers only: a sink that can use sweeps receives them whatever its ops are"))
	case !slices.Contains(Names(), kind):
		wrong("kind", fmt.Errorf("there is no kind %q: use %s", kind, strings.Join(Names(), ", ")))
	}
	if s.OnSchemaChange != "" && s.OnSchemaChange != OnChangeContinue && s.OnSchemaChange != OnChangePause {
		wrong("on_schema_change", errors.New("write on_schema_change: continue, or pause"))
	}
	if s.MaxLen < 0 {
		wrong("max_len", errors.New("give a number of entries, or 0 for no limit"))
	}
	for _, one := range []struct {
		field  string
		config filter.Config
	}{
		{"tables", filter.Config{Tables: s.Tables}},
		{"ops", filter.Config{Ops: s.Ops}},
		{"columns", filter.Config{Columns: s.Columns, Without: s.Without}},
		{"condition", filter.Config{Condition: s.Condition}},
		{"rename", filter.Config{Rename: s.Rename}},
	} {
		_, err := filter.New(one.config)
		wrong(one.field, err)
	}
	return problems
}

// Opened is a sink that was opened.
type Opened struct {
	sink.Sink

	// Once reports that the sink is in the log's own database, and delivers in the transaction that moves the position.
	Once  bool
	close func()
}

// Close closes the sink and what was opened for it.
func (o *Opened) Close() error {
	err := o.Sink.Close()
	if o.close != nil {
		o.close()
	}
	return err
}

// Sweeps reports whether the sink deletes rows that a snapshot has not found.
func (o *Opened) Sweeps() bool {
	sweeper, is := o.Sink.(sink.Sweeper)
	return is && sweeper.Sweeps()
}

// Batch returns the size of the sink's batches; 0 if it has no wish.
func (o *Opened) Batch() int {
	if sized, is := o.Sink.(sink.Sized); is {
		return sized.Batch()
	}
	return 0
}

// DeliverTx delivers in a transaction of the log's database. Once must be true.
func (o *Opened) DeliverTx(ctx context.Context, tx pgx.Tx, changes []change.Change) ([]sink.Refusal, error) {
	target, ok := o.Sink.(*postgres.Postgres)
	if !ok {
		return nil, fmt.Errorf("%w: this kind of sink has no transactions", ErrSettings)
	}
	return target.DeliverTx(ctx, tx, changes)
}

// Environment has what is needed to open a sink, in addition to its settings.
type Environment struct {
	Lookup func(name string) (string, bool) // looks up an environment variable, like os.LookupEnv
	DB     *database.DB                     // the log's database
	URL    string                           // of DB
}

// Open opens a sink. Errors have the names of environment variables, never their values.
func Open(ctx context.Context, kind string, s Settings, env Environment) (*Opened, error) {
	if problems := Check(kind, s); len(problems) > 0 {
		return nil, fmt.Errorf("%w: %s: %w", ErrSettings, problems[0].Field, problems[0].Err)
	}
	url, err := env.read(s.URL)
	if err != nil {
		return nil, err
	}
	secret, err := env.read(s.Secret)
	if err != nil {
		return nil, err
	}
	opened, err := open(ctx, kind, s, url, secret, env)
	if err != nil {
		named := slices.DeleteFunc([]string{s.URL, s.Secret}, func(name string) bool { return name == "" })
		return nil, fmt.Errorf("%w (see %s)", err, strings.Join(named, " and "))
	}
	return opened, nil
}

func (e Environment) read(named string) (string, error) {
	name, ok := Variable(named)
	if !ok {
		return "", nil
	}
	value, set := e.Lookup(name)
	if !set || value == "" {
		return "", fmt.Errorf("%w: the environment variable %s is not set: set it where the worker runs", ErrSettings, name)
	}
	return value, nil
}

func open(ctx context.Context, kind string, s Settings, url, secret string, env Environment) (*Opened, error) {
	var made sink.Sink
	var err error
	switch kind {
	case Webhook:
		made, err = webhook.Open(webhook.Config{URL: url, Secret: secret, Batch: s.Batch, AllowPrivate: s.AllowPrivate})
	case Redis:
		config := redis.Config{URL: url, MaxLen: s.MaxLen, Set: parse(s.Set), Hash: parse(s.Hash), Stream: parse(s.Stream)}
		for _, text := range s.Delete {
			config.Delete = append(config.Delete, parse(text))
		}
		made, err = redis.Open(config)
	case Search:
		made, err = search.Open(search.Config{URL: url, Index: parse(s.Index)})
	case Kafka:
		made, err = kafka.Open(kafka.Config{URL: url, Topic: parse(s.Topic), CreateTopics: s.CreateTopics})
	case NATS:
		made, err = nats.Open(nats.Config{URL: url, Subject: s.Subject, Stream: s.Stream})
	case ClickHouse:
		config := clickhouse.Config{URL: url, Database: s.Schema}
		if env.DB != nil {
			config.Columns = s.columnsOf(env.DB)
		}
		made, err = clickhouse.Open(config)
	case Poll:
		return nil, fmt.Errorf("%w: a poller fetches its changes itself", ErrSettings)
	default:
		return openPostgres(ctx, s, url, env)
	}
	if err != nil {
		return nil, err
	}
	return &Opened{Sink: made}, nil
}

// openPostgres opens a Postgres sink. If the sink is in the log's database, it uses the log's connections.
func openPostgres(ctx context.Context, s Settings, url string, env Environment) (*Opened, error) {
	config := postgres.Config{Schema: s.Schema}
	if same(url, env.URL) {
		config.DB = env.DB
		// A second connection of the same pool might never be free: all others may wait for one, too.
		config.Columns = func(ctx context.Context, tx pgx.Tx, c change.Change) ([]sink.Column, error) {
			return s.readColumns(ctx, tx, c)
		}
		return &Opened{Sink: postgres.New(config), Once: true}, nil
	}
	db, err := database.Open(ctx, database.Config{URL: url, ApplicationName: "daymill sink", PoolSize: 2})
	if err != nil {
		return nil, err
	}
	config.DB = db
	if env.DB != nil {
		columns := s.columnsOf(env.DB)
		config.Columns = func(ctx context.Context, _ pgx.Tx, c change.Change) ([]sink.Column, error) { return columns(ctx, c) }
	}
	return &Opened{Sink: postgres.New(config), close: db.Close}, nil
}

// same reports whether two URLs lead to the same database. If they name it in two ways, same returns false, and rows are delivered at
// least once, as to any other database.
func same(url, other string) bool {
	a, errA := database.ParseURL(url)
	b, errB := database.ParseURL(other)
	return errA == nil && errB == nil && a.Host == b.Host && a.Port == b.Port && a.Database == b.Database && a.User == b.User
}

// parse parses a template that has been checked.
func parse(text string) *template.Template {
	if text == "" {
		return nil
	}
	parsed, err := template.Parse(text)
	if err != nil {
		return nil
	}
	return parsed
}
