// Package doctor checks what a Postgres allows, how Daymill uses it, and everything that has ever kept an installation from working.
// Each [Finding] has a sentence and the command that fixes the problem. `daymill doctor` prints the findings, and a page shows them.
//
// Every check is a short statement with a time limit. No check needs a right that Daymill does not have anyway: what this role cannot
// see becomes a note. If a check fails, that is a finding too, and the other checks continue.
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

// Level says how severe a finding is.
type Level string

// The levels. OK means that the check passed. A Note is for information and needs no action. A Warning will cause trouble later. A
// Failure means that dates are not exact, or are not rolled up at all.
const (
	OK      Level = "ok"
	Note    Level = "note"
	Warning Level = "warning"
	Failure Level = "failure"
)

// Finding is the result of a check.
type Finding struct {
	ID       string `json:"id"` // of the check: version, rights, clock, …; several findings may share it
	Level    Level  `json:"level"`
	Sentence string `json:"sentence"` // what the check found, and why it matters
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

// River describes River's tables. The caller fills it in, because this package does not import River.
type River struct {
	Schema          string
	Applied, Newest int // the versions of its migrations: in the database, and in this binary
	Err             error
}

// Limits are the values from which on something is a finding. Zero means the default.
type Limits struct {
	Transaction time.Duration // the age of an open transaction; an hour
	Waiting     time.Duration // how long a job has been ready and no worker takes it; 5 minutes
	DeadRows    int64         // of a table, in addition to a fifth of its rows; 10,000
	Lag         int64         // bytes that a follower is behind; 256 MB
}

// Config says what to check.
type Config struct {
	DB        *postgres.DB
	Followers []Follower // that events are read from; empty if there are none
	Clock     pace.Clock
	PoolSize  int // the connections of a worker
	River     River
	Limits    Limits
	// Health returns the findings of package health; nil skips them. Findings that other checks report in more detail (source,
	// faults) are left out.
	Health func(ctx context.Context) ([]health.Finding, error)
	// Checks are the checks of the capabilities.
	Checks []Check
	// Discreet leaves connection errors out of the findings, because they name hosts. Logger gets them instead.
	Discreet bool
	// Logger gets the errors of failed checks if Discreet is set; may be nil.
	Logger *slog.Logger
}

// Report is the result of an examination.
type Report struct {
	Findings []Finding
	// Role and Database are the role and the database of the examination, quoted for SQL; empty if the server did not answer.
	Role, Database string
	// Pooled reports whether a pooler in transaction mode is in use.
	Pooled bool
	// Followers is how many followers events are read from.
	Followers int
}

// checks returns the checks of the server and of the installation. A check comes after those that it depends on.
func checks() []Check {
	return []Check{
		{"version", false, checkVersion},
		{"engine", false, checkEngine},
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

// statementTimeout bounds every check.
const statementTimeout = "2s"

// Check is one check of the doctor. Capabilities contribute theirs in [Config].
type Check struct {
	ID string
	// Installed reports that Do needs Daymill's schema.
	Installed bool
	// Do adds findings to exam. It returns an error if it could not check.
	Do func(ctx context.Context, exam *Examination, tx pgx.Tx) error
}

// Examination is a run of all checks, to which they add their findings.
type Examination struct {
	Config

	Installation schema.Installation
	installed    bool   // the schema is complete, and the installation is known
	role         string // quoted, as is database
	database     string
	findings     []Finding
	id           string // of the current check
}

// Examine runs all checks and returns the findings.
func Examine(ctx context.Context, config Config) []Finding { return Look(ctx, config).Findings }

// Look runs the checks of the server and the installation, and then those of the capabilities, until ctx is done. It returns no error:
// a check that fails is a finding.
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
			exam.Addf(Warning, "the examination took too long: the remaining checks were skipped").Fixf("daymill doctor")
			break
		}
		err := exam.DB.ReadTx(ctx, func(tx pgx.Tx) error {
			if err := postgres.SetLocal(ctx, tx, postgres.Local{"statement_timeout": statementTimeout}); err != nil {
				return err
			}
			return look.Do(ctx, exam, tx)
		})
		exam.unseen(ctx, err)
		if look.ID == "version" && postgres.IsUnreachable(err) {
			break // The server will not answer other statements either.
		}
	}
	return Report{
		Findings: exam.findings, Role: exam.role, Database: exam.database, Pooled: exam.DB.Pooled(), Followers: len(exam.Followers),
	}
}

// unseen adds a finding for a check that failed.
func (e *Examination) unseen(ctx context.Context, err error) {
	if err == nil {
		return
	}
	if e.Discreet && e.Logger != nil {
		e.Logger.WarnContext(ctx, "a check of the doctor failed", slog.String("look", e.id), slog.String("error", err.Error()))
	}
	switch {
	case e.id == "version" && postgres.IsUnreachable(err):
		finding := e.Addf(Failure, "the database cannot be reached, so nothing was checked; the log says why")
		if !e.Discreet {
			finding.Sentence = "the database cannot be reached, so nothing was checked: " + message(err)
		}
		finding.Fixf("daymill doctor")
	case e.Discreet && postgres.IsTimeout(err):
		e.Addf(Warning, "could not be checked: it took longer than %s", statementTimeout).Fixf("daymill doctor")
	case e.Discreet && postgres.IsUnreachable(err):
		e.Addf(Warning, "could not be checked: the database did not answer, and the log says why").Fixf("daymill doctor")
	case postgres.Code(err) == pgerrcode.InsufficientPrivilege:
		e.Addf(Note, "cannot see: %s", message(err))
	default:
		e.Addf(Warning, "could not be checked: %s", message(err)).Fixf("daymill doctor")
	}
}

// message returns an error as one line. For an error of the server, it returns the server's message.
func message(err error) string {
	if inner := errors.Unwrap(err); inner != nil && postgres.Code(err) != "" {
		return message(inner)
	}
	return err.Error()
}

// Addf adds a finding of the current check, and returns it.
func (e *Examination) Addf(level Level, format string, arguments ...any) *Finding {
	e.findings = append(e.findings, Finding{ID: e.id, Level: level, Sentence: fmt.Sprintf(format, arguments...)})
	return &e.findings[len(e.findings)-1]
}

// Fixf says what fixes the finding: a command, or advice.
func (f *Finding) Fixf(format string, arguments ...any) { f.Fix = fmt.Sprintf(format, arguments...) }
