// Package restore restores a database from an archive, to its end or to an earlier position or time. psql runs the archive's SQL. This
// package checks the files, chooses the base and the transactions, and continues an interrupted restore.
package restore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/text"
)

// Config says what to restore, and where.
type Config struct {
	Store  *store.Store
	Codec  store.Codec // reads the files; with the identity if they are encrypted
	Into   string      // a URL
	Target chain.Target
	Jobs   int  // parts of the base to restore in parallel; one if 0
	Force  bool // also into a database that is not empty
	// Quiet makes errors of psql have only their code, because its messages may have values of rows.
	Quiet bool
	// Checking is called before files are compared with their checksums, which may take minutes; may be nil.
	Checking func(files int, bytes int64)
	// Progress is called with each file, by one goroutine at a time; may be nil.
	Progress func(name string, done, all int)
}

// Result says what was restored.
type Result struct {
	Base         string
	Transactions int // of this call
	To           string
	LastCommit   time.Time
}

const (
	// patience is how long a restore waits for the sessions of an interrupted one.
	patience = 30 * time.Second
	// door is the key of the lock of a restore, and entry how long another one waits for it: the process of an interrupted one has just ended.
	door  = "5074951365"
	entry = "3s"
)

type restoration struct {
	config   Config
	chain    chain.Chain
	base     chain.Base
	done     map[string]bool // parts of the base
	position string          // up to which the database is restored
	here     string          // up to which the segments are read
	over     bool
	result   Result

	mu    sync.Mutex
	count int
}

// Run restores an archive, or continues an interrupted restore of the same archive.
func Run(ctx context.Context, config Config) (result Result, err error) {
	config.Jobs = max(config.Jobs, 1)
	r := &restoration{config: config, done: map[string]bool{}}
	if r.chain, err = chain.Read(ctx, config.Store); err != nil {
		return result, err
	}
	if r.base, err = r.chain.Choose(config.Target); err != nil {
		return result, err
	}
	db, err := postgres.Open(ctx, postgres.Config{URL: config.Into, ApplicationName: "daymill archive restore", StatementTimeout: 2 * patience, LockTimeout: patience})
	if err != nil {
		return result, err
	}
	defer db.Close()
	leave, err := enter(ctx, db)
	if err != nil {
		return result, err
	}
	defer leave()
	if err := r.look(ctx, db); err != nil {
		return result, err
	}
	if config.Checking != nil {
		config.Checking(r.chain.SizeFor(r.base))
	}
	if err := r.chain.VerifyFor(ctx, r.base); err != nil {
		return result, err
	}
	r.position = max(r.position, r.base.Position)
	r.result = Result{Base: r.base.Position, To: r.position, LastCommit: r.base.At}
	if err := r.parts(ctx); err != nil {
		return result, err
	}
	return r.result, r.replay(ctx)
}

// enter keeps other restores out of the database until leave is called: they would write the same rows. The psql of an interrupted restore does
// not keep others out, but see look.
func enter(ctx context.Context, db *postgres.DB) (leave func(), err error) {
	conn, err := db.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the database to restore into: %w", err)
	}
	_, err = conn.Exec(ctx, "SET idle_session_timeout = 0; SET lock_timeout = '"+entry+"'; SELECT pg_catalog.pg_advisory_lock("+door+")", pgx.QueryExecModeSimpleProtocol)
	if postgres.IsLockTimeout(err) {
		err = errors.New("another restore writes into this database: wait until it ends, or create a new database")
	} else if err != nil {
		err = fmt.Errorf("keep other restores out of the database: %w", err)
	}
	if err != nil {
		conn.Release()
		return nil, err
	}
	return func() {
		_ = conn.Hijack().Close(context.WithoutCancel(ctx)) // It has the lock.
	}, nil
}

// look checks that the database is empty or has an interrupted restore, and that the role is a superuser.
func (r *restoration) look(ctx context.Context, db *postgres.DB) error {
	_, err := db.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock("+lock+")")
	if postgres.IsLockTimeout(err) {
		return errors.New("another restore writes into the database, or the server still runs what an interrupted one has sent: wait until its session ends")
	}
	if err != nil {
		return fmt.Errorf("check the database to restore into: %w", err)
	}
	var begun, super bool
	var role string
	var count int
	err = db.QueryRow(ctx, `
		SELECT pg_catalog.to_regclass('daymill_restore.restore') IS NOT NULL, (
			SELECT count(*) FROM pg_catalog.pg_class AS c INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
			WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
		), r.rolname::text, r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user`).Scan(&begun, &count, &role, &super)
	switch {
	case err != nil:
		return fmt.Errorf("check the database to restore into: %w", err)
	case !super:
		return fmt.Errorf("the role %s is not a superuser, which a restore needs: give the URL of a superuser with --into", role)
	case begun:
		return r.resume(ctx, db)
	case count > 0 && !r.config.Force:
		return fmt.Errorf("the database to restore into is not empty, it has %s: create a new one (or use --force to restore beside them)", text.Plural(int64(count), "relation"))
	}
	return nil
}

// resume reads the progress of the interrupted restore.
func (r *restoration) resume(ctx context.Context, db *postgres.DB) error {
	var archive, base string
	var at time.Time
	err := db.QueryRow(ctx, "SELECT r.archive, r.base, r.position, r.at FROM daymill_restore.restore AS r").Scan(&archive, &base, &r.position, &at)
	if err != nil {
		return fmt.Errorf("read the progress of the interrupted restore: %w", err)
	}
	if archive != r.chain.Manifest.Slot {
		return errors.New("the database has an interrupted restore of another archive: create a new one")
	}
	rows, err := db.Query(ctx, "SELECT d.part FROM daymill_restore.done AS d")
	if err != nil {
		return fmt.Errorf("read the progress of the interrupted restore: %w", err)
	}
	parts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("read the progress of the interrupted restore: %w", err)
	}
	for _, part := range parts {
		r.done[part] = true
	}
	target := r.config.Target
	if target.LSN != 0 && segment.LSN(target.LSN) < r.position || !target.Time.IsZero() && target.Time.Before(at) {
		return fmt.Errorf("the interrupted restore is at %s, which is later than the target: create a new database", r.position)
	}
	if base == r.base.Position {
		return nil
	}
	for _, b := range r.chain.Bases {
		if b.Position == base {
			if err := r.chain.Joined(b, r.base.Position); err != nil {
				return fmt.Errorf("the interrupted restore began with the base %s, and %w: create a new database", base, err)
			}
			r.base = b
			return nil
		}
	}
	return fmt.Errorf("the base %s, with which the interrupted restore began, is no longer in the archive: create a new database", base)
}

func (r *restoration) progress(name string) {
	if r.config.Progress == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	all := len(r.base.Files) + len(r.chain.After(r.base))
	if r.chain.Open != "" {
		all++
	}
	r.config.Progress(name, r.count, all)
}
