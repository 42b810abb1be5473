package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/clock"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/telemetry/trace"
	"github.com/daymill/daymill/internal/text"
)

// Exit codes, documented in docs/configuration.md.
const (
	exitOK         = 0
	exitFailed     = 1 // the command failed
	exitUsage      = 2 // the command line or the input is wrong; nothing was changed
	exitNoDatabase = 3 // the database cannot be reached, or is not migrated
	exitDrift      = 4 // a verification found metrics that do not match the events, or rows of a sink that differ from its source
)

// cli defines all verbs, options, environment variables, defaults and help texts. kong parses the command line with it,
// and a test compares docs/configuration.md with it.
type cli struct {
	globals

	Migrate    migrateCmd    `cmd:"" help:"Install or upgrade Daymill's schema and River's tables."`
	Worker     workerCmd     `cmd:"" help:"Do all work: roll up dates, deliver changes, refresh views, keep the archive."`
	Rollup     rollupCmd     `cmd:"" help:"Roll up a date in this process."`
	Enqueue    enqueueCmd    `cmd:"" help:"Request a rollup of a date or a range from the workers."`
	Backfill   backfillCmd   `cmd:"" help:"Roll up a long range at a controlled pace: start, watch, pause."`
	Import     importCmd     `cmd:"" help:"Copy events from files into the source, and request a rollup of exactly their dates."`
	Source     sourceCmd     `cmd:"" help:"Set the table that events come from, and check that Daymill can read it."`
	Web        webCmd        `cmd:"" help:"Serve the pages, the API and health checks over HTTP."`
	User       userCmd       `cmd:"" help:"Make the lines of users who may log in to the pages."`
	Serve      serveCmd      `cmd:"" help:"Run worker and web in one process, for the smallest plans."`
	Status     statusCmd     `cmd:"" help:"Report the state of dates, those that are missing, the queue and the last runs."`
	Verify     verifyCmd     `cmd:"" help:"Count finished dates again, and report metrics that do not match the events."`
	Apply      applyCmd      `cmd:"" help:"Make captured tables, sinks, views and alerts match daymill.yaml."`
	Sink       sinkCmd       `cmd:"" help:"Add, list, pause, resume, rewind and remove sinks, which receive the changes of tables."`
	Capture    captureCmd    `cmd:"" help:"Choose the tables to capture, show streams and changes, and control snapshots."`
	Deadletter deadletterCmd `cmd:"" help:"Show changes that a sink refused, deliver them again, or discard them."`
	View       viewCmd       `cmd:"" help:"Keep tables equal to a SELECT: apply definitions, watch, verify, rebuild."`
	Archive    archiveCmd    `cmd:"" help:"Keep a backup as plain SQL, with every transaction, and restore it."`
	Alert      alertCmd      `cmd:"" help:"Show who is told what is wrong, and test that they are reached."`
	Doctor     doctorCmd     `cmd:"" help:"Report what this Postgres allows, what is wrong, and what fixes it."`
	Demo       demoCmd       `cmd:"" help:"Show Daymill on a made-up history, on a temporary Postgres if no database is given."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

// globals holds the options of every verb.
type globals struct {
	DatabaseURL string          `name:"database-url" env:"DATABASE_URL" placeholder:"URL" help:"The Postgres to work on: postgres://user:password@host:5432/database."`
	Pooler      postgres.Pooler `env:"DAYMILL_POOLER" enum:"auto,none,transaction" default:"auto" help:"The pooler in front of Postgres: auto detects it, transaction is PgBouncer's mode of that name (${enum})."`
	PoolSize    int             `env:"DAYMILL_POOL_SIZE" default:"6" help:"How many connections a process opens to the database at most."`
	Archive     string          `env:"DAYMILL_ARCHIVE" placeholder:"URL" help:"The archive's URL: file:///backups/app, s3://bucket/app, gs://bucket/app or azblob://container/app. If it is set, workers keep the archive."`
	LogFormat   string          `env:"DAYMILL_LOG_FORMAT" enum:"text,json" default:"text" help:"The format of log lines (${enum})."`
	LogLevel    slog.Level      `env:"DAYMILL_LOG_LEVEL" default:"info" help:"The least severe log lines to write: debug, info, warn or error."`
}

// app holds what every verb uses: its streams, its clock and the options of the process.
type app struct {
	globals

	stdin          io.Reader
	stdout, stderr io.Writer
	testClock      pace.Clock   // nil except in tests
	serverClock    *clock.Clock // Postgres's, once a database is open
	// statementTimeout overrides the usual limit of a statement; 0 means the usual one.
	statementTimeout time.Duration
	process          string           // see processName
	throwaway        bool             // the database is deleted when the process ends
	tracer           *trace.Tracer    // nil if nothing is traced
	kept             *standing.Source // of the archive; nil until it is opened
}

// usageError is a mistake on the command line or in the input.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, arguments ...any) error {
	return usageError{fmt.Errorf(format, arguments...)}
}

// exited carries the exit code out of kong, which would otherwise end the process after printing help.
type exited int

// execute parses the command line, runs the verb and returns the exit code.
func execute(ctx context.Context, a *app, args []string) (code int) {
	defer func() {
		switch bug := recover().(type) {
		case nil:
		case exited:
			code = int(bug)
		default:
			a.errorf("daymill: this is a bug in daymill, please report it: %v\n\n%s", bug, debug.Stack())
			code = exitFailed
		}
	}()
	var line cli
	parser, err := kong.New(&line,
		kong.Name("daymill"),
		kong.Description("Roll up events, capture changes, keep views and an archive, next to your application's Postgres."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Writers(a.stdout, a.stderr),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), decodeWith(parseDuration)),
		kong.TypeMapper(reflect.TypeFor[slog.Level](), decodeWith(parseLevel)),
		kong.KindMapper(reflect.Int, decodeWith(parseNumber)),
		kong.KindMapper(reflect.Int64, decodeWith(parseNumber)),
	)
	if err != nil {
		return a.fail(err)
	}
	command, err := parser.Parse(args)
	if err != nil {
		return a.fail(usageError{parseError(err)})
	}
	a.globals = line.globals
	if err := command.Run(a); err != nil {
		return a.fail(err)
	}
	return exitOK
}

// parseError adds to an error of the command line how to find out what the command expects.
func parseError(err error) error {
	parse, is := errors.AsType[*kong.ParseError](err)
	if file, unexpected := strings.CutPrefix(err.Error(), "unexpected argument "); is && unexpected && takesFile(parse.Context) {
		return fmt.Errorf("%w: write -f %s", err, file)
	}
	if !is || !strings.HasPrefix(err.Error(), "expected ") && !strings.HasPrefix(err.Error(), "missing flags: ") {
		return err
	}
	help := "daymill --help"
	if parse.Context != nil && parse.Context.Selected() != nil {
		help = parse.Context.Selected().FullPath() + " --help"
	}
	return fmt.Errorf("%w: see `%s`", err, help)
}

// takesFile reports whether the command that was given has an option -f for a file.
func takesFile(line *kong.Context) bool {
	return line != nil && line.Selected() != nil && slices.ContainsFunc(line.Selected().Flags, func(f *kong.Flag) bool { return f.Name == "file" && f.Short == 'f' })
}

// fail prints an error as one line and returns its exit code.
func (a *app) fail(err error) int {
	hint := ""
	if postgres.IsMissing(err) && !errors.Is(err, schema.ErrNotMigrated) {
		hint = ": `daymill doctor` says what is missing, and `daymill migrate` restores what it can"
	}
	a.errorf("daymill: %s%s\n", err, hint)
	var usage usageError
	var parse *kong.ParseError
	switch {
	case errors.As(err, &usage), errors.As(err, &parse), errors.Is(err, postgres.ErrURL):
		return exitUsage
	case errors.Is(err, postgres.ErrNoURL), errors.Is(err, postgres.ErrConnect), errors.Is(err, postgres.ErrEncoding), errors.Is(err, postgres.ErrEngine),
		errors.Is(err, postgres.ErrStandby), errors.Is(err, schema.ErrNotMigrated):
		return exitNoDatabase
	case errors.Is(err, errDrift), errors.Is(err, errRows), errors.Is(err, errViewDrift):
		return exitDrift
	default:
		return exitFailed
	}
}

// printf writes a line of a report to standard output. It replaces control characters, which data may contain.
func (a *app) printf(format string, arguments ...any) { writef(a.stdout, format, arguments...) }

// errorf is like printf, but writes to standard error.
func (a *app) errorf(format string, arguments ...any) { writef(a.stderr, format, arguments...) }

// tablef is like printf, but writes a row of a table. The table's Flush reports errors.
func (*app) tablef(w io.Writer, format string, arguments ...any) { writef(w, format, arguments...) }

func writef(w io.Writer, format string, arguments ...any) {
	_, _ = io.WriteString(w, text.Printable(fmt.Sprintf(format, arguments...))) // The reader has closed the stream.
}

// logger writes to standard error, structured.
func (a *app) logger() *slog.Logger {
	options := &slog.HandlerOptions{Level: a.LogLevel}
	if a.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, options))
	}
	return slog.New(slog.NewTextHandler(a.stderr, options))
}

// terminal reports whether standard error can show progress bars and colours.
func (a *app) terminal() bool {
	file, ok := a.stderr.(*os.File)
	return ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb"
}

// open connects to the database. The verb is shown in pg_stat_activity.
func (a *app) open(ctx context.Context, verb string) (*postgres.DB, error) {
	// A verb may hold one connection while it runs queries on another.
	if a.PoolSize < 2 || a.PoolSize > 1000 {
		return nil, usagef("--pool-size is %d: give a number from 2 to 1000", a.PoolSize)
	}
	db, err := postgres.Open(ctx, postgres.Config{
		URL: a.DatabaseURL, ApplicationName: "daymill " + verb, PoolSize: a.PoolSize, Pooler: a.Pooler,
		StatementTimeout: a.statementTimeout, Tracer: a.queryTracer(),
	})
	if err != nil {
		return nil, err
	}
	a.serverClock = clock.New(pace.SystemClock{})
	if err := a.serverClock.Sync(ctx, db); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// openInstalled connects to a migrated database, which must not be a standby, and returns the settings that were chosen at its installation.
func (a *app) openInstalled(ctx context.Context, verb string) (*postgres.DB, schema.Installation, error) {
	db, err := a.open(ctx, verb)
	if err != nil {
		return nil, schema.Installation{}, err
	}
	var installation schema.Installation
	if err = db.CheckWritable(ctx); err == nil {
		installation, err = schema.Get(ctx, db)
	}
	if err != nil {
		db.Close()
		return nil, schema.Installation{}, err
	}
	return db, installation, nil
}
