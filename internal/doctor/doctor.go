// Package doctor says what a Postgres allows and what Daymill makes of it: one [Finding] for everything that has kept an
// installation from working, with a sentence and the command that fixes it. `daymill doctor` prints them, and a page shows them.
//
// Every look is a short statement of its own under a time limit. None needs a right beyond those Daymill has anyway: what
// this role cannot see is a note. A look that fails is a finding, too, and the others go on.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
)

// Level says how grave a finding is.
type Level string

// The levels. OK is as it should be; a Note is good to know and needs nothing; a Warning will hurt some day; a Failure
// keeps dates from being exact, or from being rolled up at all.
const (
	OK      Level = "ok"
	Note    Level = "note"
	Warning Level = "warning"
	Failure Level = "failure"
)

// Finding is one thing that was looked at.
type Finding struct {
	ID       string `json:"id"` // of the look: version, rights, clock, …; several findings may share it
	Level    Level  `json:"level"`
	Sentence string `json:"sentence"` // what there is, and why it matters
	Fix      string `json:"fix,omitempty"`
}

// Failed reports whether any finding is a failure.
func Failed(findings []Finding) bool {
	for _, f := range findings {
		if f.Level == Failure {
			return true
		}
	}
	return false
}

// River is what there is to know about River's tables. Whoever knows River fills it in.
type River struct {
	Schema          string
	Applied, Newest int // the versions of its migrations: in the database, and in this binary
	Err             error
}

// Limits are from when on something is a finding. Zero values are the defaults.
type Limits struct {
	Transaction time.Duration // the age of an open transaction; an hour
	Waiting     time.Duration // how long a job has been ready and no worker takes it; 5 minutes
	DeadRows    int64         // of a table, besides a fifth of its rows; 10,000
	Lag         int64         // bytes that a follower is behind; 256 MB
}

// Config says what to look at.
type Config struct {
	DB       *postgres.DB
	Source   *postgres.DB // the follower that events are read from; nil where there is none
	Clock    pace.Clock
	PoolSize int // the connections of a worker
	River    River
	Limits   Limits
	// Health returns the findings of package health; they are not looked at where it is nil. Those that other looks say in
	// more detail (source, faults) are left out.
	Health func(ctx context.Context) ([]health.Finding, error)
	// Checks are those of the capabilities.
	Checks []Check
	// Discreet leaves out of the findings what went wrong on the way to the server, which names hosts; Logger is told.
	Discreet bool
	// Logger is told of looks that failed where Discreet is set; it may be nil.
	Logger *slog.Logger
}

// Report is what an examination has found.
type Report struct {
	Findings []Finding
	// Role and Database are what it looked as and at, quoted as SQL needs it; empty where the server could not be asked.
	Role, Database string
	// Pooled reports whether a pooler in transaction mode is in between, and Follower whether there is one to read from.
	Pooled, Follower bool
}

// checks are those of the server and of the installation, in the order in which one needs another.
func checks() []Check {
	return []Check{
		{"version", false, checkVersion},
		{"primary", false, checkPrimary},
		{"schema", false, checkSchema},
		{"river", false, checkRiver},
		{"inventory", true, checkInventory},
		{"rights", true, checkRights},
		{"names", true, checkNames},
		{"notify", true, checkNotify},
		{"pooler", false, checkPooler},
		{"connections", false, checkConnections},
		{"timeouts", false, checkTimeouts},
		{"clock", false, checkClock},
		{"time_zone", true, checkTimeZone},
		{"follower", false, checkFollower},
		{"health", true, checkHealth},
		{"queue", true, checkQueue},
		{"transactions", false, checkTransactions},
		{"autovacuum", false, checkAutovacuum},
		{"bloat", true, checkBloat},
		{"wraparound", false, checkWraparound},
		{"replication", false, checkReplication},
		{"extensions", false, checkExtensions},
	}
}

// statementTimeout bounds every look.
const statementTimeout = "2s"

// Check is one thing that the doctor looks at. Capabilities contribute theirs in [Config].
type Check struct {
	ID string
	// Installed is set where Do needs Daymill's schema.
	Installed bool
	// Do adds what it finds. An error says that it could not look.
	Do func(ctx context.Context, exam *Examination, tx pgx.Tx) error
}

// Examination is one visit to the doctor, to which checks add what they find.
type Examination struct {
	Config

	Installation schema.Installation
	installed    bool   // the schema is complete, and the installation is known
	role         string // quoted, as is database
	database     string
	findings     []Finding
	id           string // of the look under way
}

// Examine looks at everything, and returns what it has found.
func Examine(ctx context.Context, config Config) []Finding { return Look(ctx, config).Findings }

// Look looks at the server and the installation, then at what the capabilities contribute, until ctx is done. It returns no error: what
// cannot be looked at is a finding.
func Look(ctx context.Context, config Config) Report {
	limits := &config.Limits
	limits.Transaction = cmp.Or(limits.Transaction, time.Hour)
	limits.Waiting = cmp.Or(limits.Waiting, 5*time.Minute)
	limits.DeadRows = cmp.Or(limits.DeadRows, 10_000)
	limits.Lag = cmp.Or(limits.Lag, 256<<20)
	exam := &Examination{Config: config}
	for _, look := range append(checks(), config.Checks...) {
		if look.Installed && !exam.installed {
			continue
		}
		exam.id = look.ID
		if ctx.Err() != nil {
			exam.Addf(Warning, "the examination took too long: nothing from here on was looked at").Fixf("daymill doctor")
			break
		}
		err := exam.DB.ReadTx(ctx, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = '"+statementTimeout+"'"); err != nil {
				return fmt.Errorf("limit the statement: %w", err)
			}
			return look.Do(ctx, exam, tx)
		})
		exam.unseen(ctx, err)
		if look.ID == "version" && postgres.IsUnreachable(err) {
			break // Nor will it answer anything else.
		}
	}
	return Report{
		Findings: exam.findings, Role: exam.role, Database: exam.database, Pooled: exam.DB.Pooled(), Follower: exam.Source != nil,
	}
}

// unseen makes a finding of a look that failed.
func (e *Examination) unseen(ctx context.Context, err error) {
	if err == nil {
		return
	}
	if e.Discreet && e.Logger != nil {
		e.Logger.WarnContext(ctx, "the doctor could not look", slog.String("look", e.id), slog.String("error", err.Error()))
	}
	switch {
	case e.id == "version" && postgres.IsUnreachable(err):
		finding := e.Addf(Failure, "the database cannot be reached, so nothing was looked at; the log says why")
		if !e.Discreet {
			finding.Sentence = "the database cannot be reached, so nothing was looked at: " + message(err)
		}
		finding.Fixf("daymill doctor")
	case e.Discreet && postgres.IsTimeout(err):
		e.Addf(Warning, "could not be looked at: it took longer than %s", statementTimeout).Fixf("daymill doctor")
	case e.Discreet && postgres.IsUnreachable(err):
		e.Addf(Warning, "could not be looked at: the database could not be asked, and the log says why").Fixf("daymill doctor")
	case postgres.Code(err) == pgerrcode.InsufficientPrivilege:
		e.Addf(Note, "cannot see: %s", message(err))
	default:
		e.Addf(Warning, "could not be looked at: %s", message(err)).Fixf("daymill doctor")
	}
}

// message is an error in one line; what the server said, where it was the server.
func message(err error) string {
	if inner := errors.Unwrap(err); inner != nil && postgres.Code(err) != "" {
		return message(inner)
	}
	return err.Error()
}

// Addf adds a finding of the check that is under way, and returns it.
func (e *Examination) Addf(level Level, format string, arguments ...any) *Finding {
	e.findings = append(e.findings, Finding{ID: e.id, Level: level, Sentence: fmt.Sprintf(format, arguments...)})
	return &e.findings[len(e.findings)-1]
}

// Fixf says what fixes the finding: a command, or advice.
func (f *Finding) Fixf(format string, arguments ...any) { f.Fix = fmt.Sprintf(format, arguments...) }
