package view_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/view/definition"
	"github.com/daymill/daymill/internal/view/plan"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var who = audit.Who{Actor: "a test", Via: audit.ViaCLI}

// captureLog reads the log for consumers.
type captureLog struct{ log.Log }

func (l captureLog) Read(ctx context.Context, on postgres.DBTX, q consumer.Query) ([]change.Change, int64, error) {
	return l.Log.Read(ctx, on, log.Query(q))
}

func (captureLog) Head(ctx context.Context, on postgres.DBTX, name string) (int64, error) {
	row, err := db.New(on).StreamGet(ctx, name)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return row.Position, err
}

type testBundle struct {
	*pgtest.DB

	engine *view.Engine
	urls   map[string]string // of other databases, by environment variable
	// tables are the patterns of the tables that are captured; all if nil.
	tables []string
	// sources are databases whose changes are captured, by stream.
	sources map[string]*pgtest.DB
}

// marks creates a table whose rows show that everything before them was delivered.
const marks = "; CREATE SCHEMA marks; CREATE TABLE marks.mark (id serial PRIMARY KEY)"

// setup creates a database with tables. In mode wal, the test gets its own cluster.
func setup(t *testing.T, mode, sql string) *testBundle {
	t.Helper()
	installed := pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}
	var database *pgtest.DB
	if mode == stream.ModeWAL {
		database = pgtest.On(t, pgtest.Server(t, map[string]string{"wal_level": "logical"}), installed)
	} else {
		database = pgtest.Database(t, installed)
	}
	return setupOn(t, database, sql)
}

// setupOn creates tables in a database.
func setupOn(t *testing.T, database *pgtest.DB, sql string) *testBundle {
	t.Helper()
	b := &testBundle{DB: database, urls: map[string]string{}, sources: map[string]*pgtest.DB{definition.App: database}}
	databases := &view.Databases{
		DB: database.DB, URL: database.URL,
		Lookup:    func(name string) (string, bool) { url, has := b.urls[name]; return url, has },
		Variables: map[string]string{},
	}
	t.Cleanup(databases.Close)
	b.engine = &view.Engine{DB: database.DB, Databases: databases}
	b.database("postgres", database)
	b.Do(t, sql+marks)
	return b
}

// database adds a database under a name.
func (b *testBundle) database(name string, database *pgtest.DB) {
	b.engine.Databases.Variables[name] = "$" + name
	b.urls[name] = database.URL
}

// capture starts capturing all changes, and waits until they are read.
func (b *testBundle) capture(t *testing.T, mode string) (stop func()) {
	t.Helper()
	return b.own(t, mode, definition.App)
}

// own reads a stream until stop is called or the test ends.
func (b *testBundle) own(t *testing.T, mode, name string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	owner := stream.Owner{
		DB: b.DB.DB, Source: b.sources[name].DB, SourceURL: b.sources[name].URL, Name: name, Mode: mode, Tables: b.tables, Process: "a test",
		Beat: 200 * time.Millisecond, Look: 200 * time.Millisecond, Poll: 5 * time.Millisecond,
	}
	if owner.Tables == nil {
		owner.Tables = []string{"*"}
	}
	go func() { done <- owner.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
		}
	}
	t.Cleanup(stop)
	b.until(t, "SELECT count(*) = 1 FROM capture.stream WHERE name = $1 AND state = 'running'", name)
	b.until(t, "SELECT count(*) > 0 FROM capture.captured AS c JOIN capture.stream AS s ON s.id = c.stream_id WHERE s.name = $1", name)
	return stop
}

// until waits until a query returns true.
func (b *testBundle) until(t *testing.T, sql string, args ...any) {
	t.Helper()
	require.Eventually(t, func() bool {
		var is bool
		err := b.QueryRow(t.Context(), sql, args...).Scan(&is)
		return err == nil && is
	}, time.Minute, 10*time.Millisecond, "%s\n%v", sql, args)
}

// read parses definitions.
func read(t *testing.T, text string) []definition.Definition {
	t.Helper()
	definitions, err := definition.Parse("test", []byte(text))
	require.NoError(t, err)
	return definitions
}

func file(t *testing.T, name string) []definition.Definition {
	t.Helper()
	content, err := os.ReadFile("definition/testdata/" + name)
	require.NoError(t, err)
	return read(t, string(content))
}

// apply applies definitions.
func (b *testBundle) apply(t *testing.T, definitions []definition.Definition) []view.Step {
	t.Helper()
	steps, err := b.engine.Plan(t.Context(), definitions)
	require.NoError(t, err)
	require.NoError(t, b.engine.Apply(t.Context(), steps, who))
	return steps
}

// step delivers the available changes once, and works on due tasks. It reports whether there was anything to do.
func (b *testBundle) step(ctx context.Context, t testing.TB) bool {
	t.Helper()
	some := b.consume(ctx, t)
	due, err := db.New(b.DB).ViewTaskDue(ctx, lease.Silence)
	require.NoError(t, err)
	for _, id := range due {
		_, err := b.engine.Work(ctx, id)
		require.NoError(t, err)
		some = true
	}
	return some
}

// consume delivers the available changes once, and reports whether there were any.
func (b *testBundle) consume(ctx context.Context, t testing.TB) bool {
	t.Helper()
	some := false
	consumers, err := consumer.List(ctx, b.DB.DB)
	require.NoError(t, err)
	for _, c := range consumers {
		if c.Kind != view.Kind || c.PausedAt != nil {
			continue
		}
		result, err := b.open(ctx, t, c.Consumer)()
		if errors.Is(err, consumer.ErrPaused) {
			continue // It was removed since it was listed.
		}
		require.NoError(t, err)
		require.NoError(t, result.Err)
		some = some || result.Delivered > 0
	}
	return some
}

// open opens the sink of a consumer. deliver delivers the available changes to it once.
func (b *testBundle) open(ctx context.Context, t testing.TB, c consumer.Consumer) (deliver func() (consumer.Result, error)) {
	t.Helper()
	all, err := filter.New(filter.Config{})
	require.NoError(t, err)
	id, err := view.Of(c)
	require.NoError(t, err)
	opened, err := b.engine.Sink(ctx, id, c.Stream)
	require.NoError(t, err)
	return func() (consumer.Result, error) {
		return consumer.Run(ctx, consumer.Config{DB: b.DB.DB, Log: captureLog{}, Sink: opened, Filter: all, Consumer: c, Once: true})
	}
}

// opened opens the sink of a view's consumer.
func (b *testBundle) opened(t *testing.T, name, stream string) (deliver func() (consumer.Result, error)) {
	t.Helper()
	c, err := consumer.Get(t.Context(), b.DB.DB, b.view(t, name).Consumer(stream))
	require.NoError(t, err)
	return b.open(t.Context(), t, c)
}

// quiet waits until all changes so far are delivered and all tasks are done.
func (b *testBundle) quiet(t *testing.T) {
	t.Helper()
	for name, source := range b.sources {
		var last int
		require.NoError(t, source.QueryRow(t.Context(), "INSERT INTO marks.mark DEFAULT VALUES RETURNING id").Scan(&last))
		require.Eventually(t, func() bool {
			var landed int
			err := b.QueryRow(t.Context(), `SELECT coalesce(max((l.new ->> 'id')::integer), 0) FROM capture.log AS l INNER JOIN capture.stream AS s ON s.id = l.stream_id
				WHERE s.name = $1 AND l.table_name = 'mark'`, name).Scan(&landed)
			if err == nil && landed < last { // A mark may be in a gap.
				_, err = source.Exec(t.Context(), "INSERT INTO marks.mark DEFAULT VALUES")
			}
			return err == nil && landed >= last
		}, time.Minute, 50*time.Millisecond, "changes of %s do not arrive", name)
	}
	require.NoError(t, b.engine.Maintain(t.Context())) // It repairs gaps.
	for b.step(t.Context(), t) {
		continue
	}
}

func (b *testBundle) view(t *testing.T, name string) view.View {
	t.Helper()
	v, err := view.Get(t.Context(), b.DB.DB, name)
	require.NoError(t, err)
	return v
}

// serving returns the table that serves.
func (b *testBundle) serving(t *testing.T, name string) view.Version {
	t.Helper()
	versions, err := view.Versions(t.Context(), b.DB.DB, b.view(t, name).ID)
	require.NoError(t, err)
	at := slices.IndexFunc(versions, func(v view.Version) bool { return v.State == view.Serving })
	if at < 0 {
		tasks, err := view.Tasks(t.Context(), b.DB.DB, b.view(t, name).ID, 10)
		require.NoError(t, err)
		require.Fail(t, "no table serves", "%+v", tasks)
	}
	return versions[at]
}

// exact fails unless a view's table equals its SELECT, row for row.
func (b *testBundle) exact(t *testing.T, name string) {
	t.Helper()
	v := b.serving(t, name)
	require.Empty(t, v.Stale)
	var differing int
	var example *string
	require.NoError(t, b.QueryRow(t.Context(), `
		WITH should AS (SELECT s::text AS whole FROM (`+v.Plan.Select()+`) AS s), present AS (SELECT v::text AS whole FROM (SELECT `+v.Plan.Columns()+` FROM `+`views.`+pgx.Identifier{name}.Sanitize()+`) AS v)
		SELECT count(*), min(d.side || d.whole) FROM (
			(SELECT 'missing: ' AS side, whole FROM (TABLE should EXCEPT ALL TABLE present) AS x)
			UNION ALL (SELECT 'wrong: ', whole FROM (TABLE present EXCEPT ALL TABLE should) AS y)
		) AS d`).Scan(&differing, &example))
	if example != nil {
		require.Fail(t, "the view differs from its SELECT", "%d rows, such as %s", differing, *example)
	}
}

// quietly returns the result of a query.
func (b *testBundle) quietly(t *testing.T, sql string, args ...any) (is bool) {
	t.Helper()
	require.NoError(t, b.QueryRow(t.Context(), sql, args...).Scan(&is))
	return is
}

// mirrored fails unless the mirrors of a view equal their tables.
func (b *testBundle) mirrored(t *testing.T, name string) {
	t.Helper()
	p := b.serving(t, name).Plan
	for i, source := range p.Sources {
		if source.Mirror == "" {
			continue
		}
		var columns []string
		for _, c := range p.Needed(i).Columns {
			columns = append(columns, pgx.Identifier{c.Name}.Sanitize())
		}
		content := func(on *pgtest.DB, relation pgx.Identifier) (text string) {
			err := on.QueryRow(t.Context(), "SELECT coalesce(string_agg(x::text, chr(10) ORDER BY x::text), '') FROM (SELECT "+strings.Join(columns, ", ")+" FROM "+relation.Sanitize()+") AS x").Scan(&text)
			require.NoError(t, err)
			return text
		}
		require.Equal(t, content(b.sources[source.Stream], pgx.Identifier{source.Schema, source.Name}), content(b.DB, pgx.Identifier{plan.MirrorSchema, source.Mirror}), "the mirror of %s", source.Name)
	}
}
