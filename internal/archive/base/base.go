// Package base begins an archive: it installs the event triggers that write schema changes to the WAL, creates the publication and the
// slot, and dumps the database as of the slot's first position.
package base

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/ddl"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/capture/wal"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
)

//go:embed readme.md
var readme string

//go:embed restore.sh
var restoreScript string

// BeginSQL creates what a restore needs while it runs, and EndSQL removes it.
//
//go:embed begin.sql
var BeginSQL string

// EndSQL ends a restore.
//
//go:embed end.sql
var EndSQL string

// Prelude has the settings with which everything in an archive is read.
//
//go:embed prelude.sql
var Prelude string

// Config says which database to dump, and where to put the base.
type Config struct {
	Source *postgres.DB
	URL    string // of the source
	Store  *store.Store
	Clock  pace.Clock
	// Jobs is how many connections dump rows at the same time: pg_dump, and others for large tables. Zero means 1.
	Jobs int
}

// Options are the options of a new archive.
type Options struct {
	Compression string
	Recipients  []string // public keys to encrypt for
}

// Init begins an archive in an empty place. If it fails, it leaves nothing behind, and if it is interrupted, it can be called again.
func Init(ctx context.Context, config Config, options Options) (m chain.Manifest, err error) {
	if _, err := store.NewCodec(options.Compression, options.Recipients); err != nil {
		return m, err
	}
	if err := vacate(ctx, config); err != nil {
		return m, err
	}
	if err := possible(ctx, config.Source); err != nil {
		return m, err
	}
	random := make([]byte, 4) //nolint:mnd // Enough to tell archives apart.
	_, _ = rand.Read(random)  // It never fails.
	// Capture's slots begin with daymill_.
	m = chain.Manifest{
		Format: chain.Format, Slot: "archive_daymill_" + hex.EncodeToString(random), CreatedAt: config.Clock.Now().UTC(),
		Compression: options.Compression, Recipients: options.Recipients,
	}
	if err := describe(ctx, config.Source, &m); err != nil {
		return m, err
	}
	// The manifest comes first: it has the name under which everything else can be found and removed.
	err = chain.WriteManifest(ctx, config.Store, m)
	if err == nil {
		m.Detection, err = install(ctx, config.Source, m.Slot)
	}
	if err == nil {
		m.Files, err = companions(ctx, config.Store, m)
	}
	if err == nil {
		m, _, err = Begin(ctx, config, m, "the first", nil)
	}
	if err != nil {
		return m, errors.Join(err, discard(context.WithoutCancel(ctx), config, m.Slot))
	}
	return m, nil
}

// vacate returns an error if the place for an archive has files, unless they are those of an archive of this database whose Init was
// interrupted. It removes these.
func vacate(ctx context.Context, config Config) error {
	names, err := config.Store.Names(ctx, "")
	if err != nil || len(names) == 0 {
		return err
	}
	m, err := chain.ReadManifest(ctx, config.Store)
	if !errors.Is(err, chain.ErrUnfinished) {
		return fmt.Errorf("the place for the archive already has files, such as %s: name another one", names[0])
	}
	var here chain.Manifest
	if err := describe(ctx, config.Source, &here); err != nil {
		return err
	}
	if here.SystemID != m.SystemID || here.Database != m.Database {
		return fmt.Errorf("the place for the archive has the beginning of an archive of the database %s: name another one", m.Database)
	}
	return discard(ctx, config, m.Slot)
}

// discard removes an archive that has no base yet: its objects in the database and its files, the manifest last.
func discard(ctx context.Context, config Config, slot string) error {
	if err := Remove(ctx, config.Source, slot); err != nil {
		return err
	}
	names, err := config.Store.Names(ctx, "")
	if err != nil {
		return err
	}
	names = append(slices.DeleteFunc(names, func(name string) bool { return name == chain.ManifestName }), chain.ManifestName)
	for _, name := range names {
		if err := config.Store.Delete(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// install creates the event triggers and the publication. If the role may not, it returns true: the keeper
// has to detect schema changes, and each base publishes the tables.
func install(ctx context.Context, source *postgres.DB, slot string) (detection bool, err error) {
	err = source.Tx(ctx, func(tx pgx.Tx) error {
		if err := ddl.Install(ctx, tx); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "CREATE PUBLICATION "+pgx.Identifier{slot}.Sanitize()+" FOR ALL TABLES WITH (publish = 'insert, update, delete, truncate')")
		if err != nil {
			return fmt.Errorf("create the publication: %w", err)
		}
		return nil
	})
	if postgres.Code(err) == pgerrcode.InsufficientPrivilege {
		return true, nil
	}
	return false, err
}

// companions writes the files that a restore without Daymill needs.
func companions(ctx context.Context, s *store.Store, m chain.Manifest) (files []store.File, err error) {
	codec, err := m.Codec()
	if err != nil {
		return nil, err
	}
	for _, c := range []struct{ name, text string }{
		{"README.md", strings.ReplaceAll(readme, "GLOBALS", codec.Command("bases/POSITION/globals.sql"))}, {"begin.sql", BeginSQL}, {"end.sql", EndSQL}, {"prelude.sql", Prelude}, {"restore.sh", restoreScript},
	} {
		file, err := s.Put(ctx, c.name, func(to io.Writer) error {
			_, err := io.WriteString(to, c.text)
			return err
		})
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// ErrBusy means that another process makes a base of the archive.
var ErrBusy = errors.New("another base of this archive is being made: wait until it is complete")

// alone opens the connection that makes a base. Until it is closed, no other process makes one: two bases at the same position would have the
// same files, and a gap that is recorded beside a base would not say that it also begins there.
func alone(ctx context.Context, config Config, slot string) (*pgconn.PgConn, error) {
	conn, err := wal.Connect(ctx, config.URL, "idle_in_transaction_session_timeout=0")
	if err != nil {
		return nil, err
	}
	key := fnv.New64a()
	_, _ = key.Write([]byte(slot)) // It never fails.
	// A connection for replication has no parameters.
	results, err := conn.Exec(ctx, fmt.Sprintf("SELECT pg_catalog.pg_try_advisory_lock(%d)", int64(key.Sum64()))).ReadAll() //nolint:gosec // Only a key.
	switch {
	case err != nil:
		err = fmt.Errorf("lock the archive: %w", err)
	case string(results[0].Rows[0][0]) != "t":
		err = ErrBusy
	}
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return conn, nil
}

// Begin begins a chain of segments: it calls record, unless that is nil, drops an existing slot, and creates the slot and a base at its first
// position. No other base of the archive is made meanwhile.
func Begin(ctx context.Context, config Config, m chain.Manifest, reason string, record func(ctx context.Context) error) (chain.Manifest, chain.Base, error) {
	conn, err := alone(ctx, config, m.Slot)
	if err != nil {
		return m, chain.Base{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if record != nil {
		if err := record(ctx); err != nil {
			return m, chain.Base{}, err
		}
	}
	if err := wal.DropSlot(ctx, config.Source, m.Slot); err != nil {
		return m, chain.Base{}, err
	}
	base, err := take(ctx, config, conn, &m, pglogrepl.CreateReplicationSlotOptions{}, m.Slot, reason)
	if err == nil && m.From == "" {
		m.From = base.Position
		err = chain.WriteManifest(ctx, config.Store, m)
	}
	return m, base, err
}

// Take makes another base, while the stream continues. It returns [ErrBusy] if another one is being made.
func Take(ctx context.Context, config Config, reason string) (chain.Base, error) {
	m, err := chain.ReadManifest(ctx, config.Store)
	if err != nil {
		return chain.Base{}, err
	}
	if err := errors.Join(m.Belongs(ctx, config.Source), m.Present(ctx, config.Source)); err != nil {
		return chain.Base{}, err
	}
	conn, err := alone(ctx, config, m.Slot)
	if err != nil {
		return chain.Base{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	random := make([]byte, 4) //nolint:mnd // The slot of a base whose process was killed may still exist.
	_, _ = rand.Read(random)
	return take(ctx, config, conn, &m, pglogrepl.CreateReplicationSlotOptions{Temporary: true}, m.Slot+"_"+hex.EncodeToString(random), reason)
}

// take creates a slot and dumps its snapshot, which exists until the connection runs another command.
func take(
	ctx context.Context, config Config, conn *pgconn.PgConn, manifest *chain.Manifest, options pglogrepl.CreateReplicationSlotOptions, name, reason string,
) (base chain.Base, err error) {
	codec, err := manifest.Codec()
	if err != nil {
		return base, err
	}
	begun := config.Clock.Now()
	if manifest.Detection {
		base.Schema, err = ddl.Publish(ctx, config.Source, manifest.Slot)
	} else {
		err = ddl.Identify(ctx, config.Source)
	}
	if err != nil {
		return base, err
	}
	options.Mode, options.SnapshotAction = pglogrepl.LogicalReplication, "EXPORT_SNAPSHOT"
	slot, err := pglogrepl.CreateReplicationSlot(ctx, conn, name, "pgoutput", options)
	if err != nil {
		return base, fmt.Errorf("create slot %s: %w", name, err)
	}
	lsn, err := pglogrepl.ParseLSN(slot.ConsistentPoint)
	if err != nil {
		return base, fmt.Errorf("create slot %s: %w", name, err)
	}
	base.Position, base.Reason = segment.LSN(lsn), reason
	// Everything in the snapshot was committed before this time.
	if err := config.Source.QueryRow(ctx, "SELECT pg_catalog.clock_timestamp()").Scan(&base.At); err != nil {
		return base, fmt.Errorf("read the time: %w", err)
	}
	dir := chain.BaseDir(base.Position)
	dumped, err := dumpAll(ctx, config, codec, dir, slot.SnapshotName)
	if err != nil {
		return base, err
	}
	err = run(ctx, config.URL, func(from io.Reader) (err error) {
		base.Globals, err = codec.PutText(ctx, config.Store, dir+"globals.sql", func(to io.Writer) error {
			_, err := io.Copy(to, from)
			return err
		})
		return err
	}, "pg_dumpall", "--globals-only", "--no-role-passwords")
	if err != nil {
		return base, err
	}
	sequences, err := segment.Sequences(ctx, config.Source, map[string]string{})
	if err != nil {
		return base, err
	}
	after, err := codec.PutText(ctx, config.Store, dir+"5-after.sql", func(to io.Writer) error {
		_, err := io.WriteString(to, ddl.Removal+"DROP PUBLICATION IF EXISTS "+pgx.Identifier{manifest.Slot}.Sanitize()+";\n"+sequences)
		return err
	})
	if err != nil {
		return base, err
	}
	base.At, base.Files, base.Took = base.At.UTC(), slices.Concat(dumped, []store.File{after}), config.Clock.Now().Sub(begun)
	return base, chain.AddBase(ctx, config.Store, base)
}

// run runs one of Postgres's programs and reads its output. It pins the settings that the texts of values depend on, because the programs
// pin only some. Its errors do not show the URL.
func run(ctx context.Context, url string, read func(io.Reader) error, name string, arguments ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	address, environment, err := postgres.ForProgram(url)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, name, append(arguments, "--dbname="+address)...)
	cmd.Env = append(append(os.Environ(), environment...), "PGOPTIONS=-c lc_monetary=C -c TimeZone=UTC -c bytea_output=hex")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	from, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s is not on this machine: install Postgres's client programs, of the server's version or later", name)
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	failed := read(from)
	if failed != nil {
		cancel() // Otherwise it would wait for its output to be read.
	}
	// The program's own error comes before errors that follow from it.
	if err := cmd.Wait(); err != nil && (failed == nil || stderr.Len() > 0) {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(stderr.String()))
	}
	return failed
}

// There is an SQL expression that says whether the database has objects of an archive: event triggers or a
// publication.
const There = `(pg_catalog.to_regnamespace('daymill_archive') IS NOT NULL
	OR EXISTS (SELECT FROM pg_catalog.pg_publication AS p WHERE p.pubname LIKE 'archive\_daymill\_%'))`

func possible(ctx context.Context, source *postgres.DB) error {
	var level string
	var there bool
	err := source.QueryRow(ctx, "SELECT pg_catalog.current_setting('wal_level'), "+There).Scan(&level, &there)
	switch {
	case err != nil:
		return fmt.Errorf("read what the database allows: %w", err)
	case source.Pooled():
		return errors.New("the URL leads to a pooler: replication needs one that leads to Postgres")
	case level != "logical":
		return fmt.Errorf("wal_level is %s: set it to logical and restart Postgres", level)
	case there:
		return errors.New("the database already has an archive: remove it with daymill archive remove")
	}
	return nil
}

func describe(ctx context.Context, source *postgres.DB, m *chain.Manifest) error {
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

// ErrUsed means that a process archives the database.
var ErrUsed = errors.New("a process archives this database: stop daymill archive run, and workers with DAYMILL_ARCHIVE, and try again")

// Unused returns [ErrUsed] if a process reads the archive's slot. It waits until the server notices that a reader has ended.
func Unused(ctx context.Context, source *postgres.DB, slot string, clock pace.Clock) error {
	const tries, every = 50, 100 * time.Millisecond
	for try := 1; ; try++ {
		found, _, err := wal.FindSlot(ctx, source, slot)
		switch {
		case err != nil:
			return err
		case !found.Active:
			return nil
		case try == tries:
			return ErrUsed
		}
		if err := clock.Sleep(ctx, every); err != nil {
			return err
		}
	}
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
