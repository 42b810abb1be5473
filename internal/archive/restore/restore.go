// Package restore restores an archive into a database, up to its end or an earlier position. psql runs the archive's SQL; this package
// checks the archive and chooses the transactions.
package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/postgres"
)

// Config says what to restore. Time and LSN are zero for the archive's end.
type Config struct {
	Archive string
	Into    string // a URL
	Time    time.Time
	LSN     pglogrepl.LSN
	Force   bool // also into a database that is not empty
	// Progress is called with each segment; may be nil.
	Progress func(name string, done, all int)
}

// Result says what was restored.
type Result struct {
	Transactions int
	To           pglogrepl.LSN
	LastCommit   time.Time
}

// Run restores.
func Run(ctx context.Context, config Config) (result Result, err error) {
	manifest, err := base.Read(config.Archive)
	if err != nil {
		return result, err
	}
	files, err := segment.List(config.Archive)
	if err != nil {
		return result, err
	}
	if err := segment.Check(files, manifest.Base); err != nil {
		return result, err
	}
	if err := empty(ctx, config); err != nil {
		return result, err
	}
	cmd := exec.CommandContext(ctx, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output="+os.DevNull, "--dbname="+config.Into)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	into, err := cmd.StdinPipe()
	if err != nil {
		return result, fmt.Errorf("start psql: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return result, fmt.Errorf("psql is not on this machine, or cannot be started: install Postgres's client programs: %w", err)
	}
	r := &run{config: config, into: into, base: manifest.Base}
	failed := errors.Join(r.base0(), r.segments(files), r.text(base.EndSQL)(), into.Close())
	if err := cmd.Wait(); err != nil {
		return result, fmt.Errorf("psql stopped: %s", strings.TrimSpace(stderr.String())) // What failed before is that it stopped.
	}
	return r.result, failed
}

type run struct {
	config Config
	into   io.Writer
	base   string
	result Result
	over   bool
}

// base0 restores the base in one transaction, so that an interrupted restore leaves nothing.
func (r *run) base0() error {
	dir := filepath.Join(r.config.Archive, base.Dir, strings.Replace(r.base, "/", "-", 1), "base.sql")
	after := filepath.Join(r.config.Archive, "after-base.sql")
	parts := []func() error{r.text(base.Prelude + "BEGIN;\n" + base.BeginSQL), r.file(dir), r.text("SELECT daymill_restore.calm();\n" + base.Prelude), r.file(after), r.text("COMMIT;\n" + base.Prelude)}
	for _, part := range parts {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) text(text string) func() error {
	return func() error {
		_, err := io.WriteString(r.into, text)
		return err
	}
}

func (r *run) file(path string) func() error {
	return func() error {
		file, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("open the base: %w", err)
		}
		defer file.Close()
		if _, err := io.Copy(r.into, file); err != nil {
			return fmt.Errorf("restore the base: %w", err)
		}
		return nil
	}
}

// segments restores the requested transactions.
func (r *run) segments(files []segment.File) error {
	for i, f := range files {
		if r.config.Progress != nil {
			r.config.Progress(filepath.Base(f.Path), i, len(files))
		}
		if err := r.segment(f); err != nil {
			return err
		}
		if r.over {
			return nil
		}
	}
	return nil
}

func (r *run) segment(f segment.File) error {
	file, err := os.Open(f.Path)
	if err != nil {
		return fmt.Errorf("open a segment: %w", err)
	}
	defer file.Close()
	var from io.Reader = file
	if f.Seal == nil { // Its last transaction may not be whole.
		from = io.LimitReader(file, segment.Whole(f.Path))
	}
	inside := false
	var last time.Time
	err = segment.Scan(from, func(line segment.Line) error {
		switch line.Kind {
		case segment.Begin:
			r.over = r.over || !r.config.Time.IsZero() && line.Time.After(r.config.Time) || r.config.LSN != 0 && line.LSN >= r.config.LSN
			inside, last = true, line.Time
		case segment.Commit:
			inside = false
			if !r.over {
				r.result.Transactions++
				r.result.To, r.result.LastCommit = line.LSN, last
			}
		case segment.Other, segment.Place, segment.End:
		}
		// The sequences' values after the position asked for keep sequences from being behind.
		if r.over && (inside || !bytes.HasPrefix(line.Text, []byte("SELECT setval("))) {
			return nil
		}
		_, err := r.into.Write(line.Text)
		return err
	})
	return err
}

// empty refuses a database that has tables.
func empty(ctx context.Context, config Config) error {
	db, err := postgres.Open(ctx, postgres.Config{URL: config.Into, ApplicationName: "daymill archive restore"})
	if err != nil {
		return err
	}
	defer db.Close()
	var count int
	err = db.QueryRow(ctx, `
		SELECT count(*) FROM pg_catalog.pg_class AS c INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'`).Scan(&count)
	if err != nil {
		return fmt.Errorf("look into the database to restore into: %w", err)
	}
	if count > 0 && !config.Force {
		return fmt.Errorf("the database to restore into is not empty, it has %d relations: create a new one, or say --force", count)
	}
	return nil
}
