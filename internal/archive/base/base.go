// Package base begins an archive: it installs the event triggers that write changes of the schema to the WAL, creates the publication and
// the slot, and dumps the database as of the slot's first position.
package base

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/archive/ddl"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/capture/wal"
	"github.com/daymill/daymill/internal/postgres"
)

//go:embed readme.md
var readme []byte

//go:embed restore.sh
var restoreScript []byte

// BeginSQL creates what a restore needs while it runs, and EndSQL removes it.
//
//go:embed begin.sql
var BeginSQL string

//go:embed end.sql
var EndSQL string

// Prelude makes the settings that everything in an archive is read with.
//
//go:embed prelude.sql
var Prelude string

// Dir is the directory of bases within an archive, Manifest the file that says what is archived.
const (
	Dir          = "bases"
	manifestName = "manifest.json"
)

// Manifest says which database an archive is of, and how to read it.
type Manifest struct {
	Format     int               `json:"format"`
	Slot       string            `json:"slot"` // and the publication
	SystemID   string            `json:"system_id"`
	Database   string            `json:"database"`
	Version    string            `json:"version"`
	Encoding   string            `json:"encoding"`
	Collation  string            `json:"collation"`
	Extensions map[string]string `json:"extensions"`
	Base       string            `json:"base"` // the position of the first base
	CreatedAt  time.Time         `json:"created_at"`
}

// ErrNone means that there is no archive.
var ErrNone = errors.New("there is no archive: run daymill archive init")

// Read reads an archive's manifest.
func Read(archive string) (m Manifest, err error) {
	content, err := os.ReadFile(filepath.Join(archive, manifestName))
	if errors.Is(err, os.ErrNotExist) {
		return m, fmt.Errorf("%w (nothing is in %s)", ErrNone, archive)
	}
	if err == nil {
		err = json.Unmarshal(content, &m)
	}
	if err != nil {
		return m, fmt.Errorf("read the manifest of the archive: %w", err)
	}
	return m, nil
}

// Init begins an archive in a directory that is empty or missing.
func Init(ctx context.Context, source *postgres.DB, url, archive string, now time.Time) (m Manifest, err error) {
	if entries, err := os.ReadDir(archive); err == nil && len(entries) > 0 {
		return m, fmt.Errorf("the directory %s is not empty: name another one", archive)
	}
	if err := possible(ctx, source); err != nil {
		return m, err
	}
	random := make([]byte, 4) //nolint:mnd // Enough to tell archives apart.
	_, _ = rand.Read(random)  // It never fails.
	// Capture's slots begin with daymill_.
	m = Manifest{Format: 1, Slot: "archive_daymill_" + hex.EncodeToString(random), CreatedAt: now.UTC()}
	if err := describe(ctx, source, &m); err != nil {
		return m, err
	}
	for _, dir := range []string{segment.Dir, Dir} {
		if err := os.MkdirAll(filepath.Join(archive, dir), 0o700); err != nil {
			return m, fmt.Errorf("make the archive: %w", err)
		}
	}
	err = source.Tx(ctx, func(tx pgx.Tx) error {
		if err := ddl.Install(ctx, tx); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "CREATE PUBLICATION "+pgx.Identifier{m.Slot}.Sanitize()+" FOR ALL TABLES WITH (publish = 'insert, update, delete, truncate')")
		if err != nil {
			return fmt.Errorf("create the publication: %w", err)
		}
		return nil
	})
	if err != nil {
		return m, errors.Join(err, os.RemoveAll(filepath.Join(archive, segment.Dir)), os.RemoveAll(filepath.Join(archive, Dir)))
	}
	if err := begin(ctx, source, url, archive, &m); err != nil {
		return m, errors.Join(err, Remove(context.WithoutCancel(ctx), source, m.Slot))
	}
	return m, nil
}

// begin creates the slot and dumps at its snapshot, which exists as long as the connection runs no other command.
func begin(ctx context.Context, source *postgres.DB, url, archive string, manifest *Manifest) error {
	conn, err := wal.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	slot, err := pglogrepl.CreateReplicationSlot(ctx, conn, manifest.Slot, "pgoutput", pglogrepl.CreateReplicationSlotOptions{
		Mode: pglogrepl.LogicalReplication, SnapshotAction: "EXPORT_SNAPSHOT",
	})
	if err != nil {
		return fmt.Errorf("create slot %s: %w", manifest.Slot, err)
	}
	lsn, err := pglogrepl.ParseLSN(slot.ConsistentPoint)
	if err != nil {
		return fmt.Errorf("create slot %s: %w", manifest.Slot, err)
	}
	manifest.Base = segment.LSN(lsn)
	dir := filepath.Join(archive, Dir, strings.Replace(manifest.Base, "/", "-", 1))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the base: %w", err)
	}
	dump := []string{"--snapshot=" + slot.SnapshotName, "--file=" + filepath.Join(dir, "base.sql"), "--encoding=UTF8"}
	if err := run(ctx, url, "pg_dump", dump...); err != nil {
		return err
	}
	if err := run(ctx, url, "pg_dumpall", "--globals-only", "--no-role-passwords", "--file="+filepath.Join(dir, "globals.sql")); err != nil {
		return err
	}
	sequences, err := segment.Sequences(ctx, source, map[string]string{})
	if err != nil {
		return err
	}
	after := ddl.Removal + "DROP PUBLICATION IF EXISTS " + pgx.Identifier{manifest.Slot}.Sanitize() + ";\n" + sequences
	for name, content := range map[string][]byte{"README.md": readme, "restore.sh": restoreScript, "prelude.sql": []byte(Prelude), "begin.sql": []byte(BeginSQL), "end.sql": []byte(EndSQL), "after-base.sql": []byte(after)} {
		if err := os.WriteFile(filepath.Join(archive, name), content, 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return segment.WriteJSON(filepath.Join(archive, manifestName), manifest)
}

// run runs one of Postgres's programs, which pin all settings that texts of values depend on but these. The URL is an argument, and no
// part of an error.
func run(ctx context.Context, url, name string, arguments ...string) error {
	cmd := exec.CommandContext(ctx, name, append(arguments, "--dbname="+url)...)
	cmd.Env = append(os.Environ(), "PGOPTIONS=-c lc_monetary=C -c TimeZone=UTC -c bytea_output=hex")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s is not on this machine: install Postgres's client programs, of the server's version or later", name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

func possible(ctx context.Context, source *postgres.DB) error {
	var level string
	var super, there bool
	err := source.QueryRow(ctx, `
		SELECT pg_catalog.current_setting('wal_level'), r.rolsuper, pg_catalog.to_regnamespace('daymill_archive') IS NOT NULL
		FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user`).Scan(&level, &super, &there)
	switch {
	case err != nil:
		return fmt.Errorf("ask what the database allows: %w", err)
	case source.Pooled():
		return errors.New("the URL leads through a pooler: replication needs one that leads to Postgres")
	case level != "logical":
		return fmt.Errorf("wal_level is %s: set it to logical and restart Postgres", level)
	case !super:
		return errors.New("the role is no superuser, which event triggers and a publication of all tables need: connect as one")
	case there:
		return errors.New("the database has an archive already: remove it with daymill archive remove")
	}
	return nil
}

func describe(ctx context.Context, source *postgres.DB, m *Manifest) error {
	err := source.QueryRow(ctx, `
		SELECT (SELECT c.system_identifier::text FROM pg_catalog.pg_control_system() AS c), d.datname::text, pg_catalog.version(),
			pg_catalog.pg_encoding_to_char(d.encoding)::text, d.datcollate::text,
			(SELECT coalesce(json_object_agg(e.extname, e.extversion), '{}') FROM pg_catalog.pg_extension AS e)
		FROM pg_catalog.pg_database AS d WHERE d.datname = current_database()`,
	).Scan(&m.SystemID, &m.Database, &m.Version, &m.Encoding, &m.Collation, &m.Extensions)
	if err != nil {
		return fmt.Errorf("describe the database: %w", err)
	}
	return nil
}

// Remove drops the archive's slot, publication and event triggers. Its files stay.
func Remove(ctx context.Context, source *postgres.DB, slot string) error {
	if err := wal.DropSlot(ctx, source, slot); err != nil {
		return err
	}
	if _, err := source.Exec(ctx, ddl.Removal+"DROP PUBLICATION IF EXISTS "+pgx.Identifier{slot}.Sanitize(), pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("remove the archive's event triggers: %w", err)
	}
	return nil
}
