// Package proof proves that an archive can be restored: it restores the archive into a scratch database, and compares every table with the source
// as it was at the same position.
package proof

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/capture/wal"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/text"
)

const (
	// DefaultPatience is how long to wait for the archive to reach the position of the comparison.
	DefaultPatience = 15 * time.Minute

	lookEvery = 500 * time.Millisecond
	// absent is how many looks in a row may find that no process archives: it may be about to start again.
	absent = 60
	// comparison is the time limit for one table's checksum.
	comparison = 6 * time.Hour
)

// Config says which archive to prove, and where. Jobs and Patience may be zero.
type Config struct {
	URL      string // of the source
	Store    *store.Store
	Codec    store.Codec
	Scratch  string // URL of a server on which the scratch database is created and dropped
	Clock    pace.Clock
	Jobs     int
	Patience time.Duration // DefaultPatience
	Progress func(name string, done, all int)
	// Waiting is called once if the archive has not reached the position of the comparison yet; may be nil. archiving is false if no process archives
	// the database.
	Waiting func(position string, archiving bool)
}

// ErrNobody means that no process archives the database, so that the archive cannot be compared with it.
var ErrNobody = errors.New("no process archives the database, and a proof compares it as it is now: start daymill archive run, or a worker with DAYMILL_ARCHIVE, and prove again")

// table is what is compared for one relation.
type table struct {
	kind string
	rows int64
	sum  string
}

// Run makes a proof, and writes its result into the archive. An error means that there is no result.
func Run(ctx context.Context, config Config) (proof chain.Proof, err error) {
	if config.Patience == 0 {
		config.Patience = DefaultPatience
	}
	begun := config.Clock.Now()
	if err := usable(ctx, config.Scratch); err != nil {
		return proof, err
	}
	position, want, err := source(ctx, config)
	if err != nil {
		return proof, err
	}
	if err := reached(ctx, config, position); err != nil {
		return proof, err
	}
	proof = chain.Proof{At: begun.UTC(), Position: position, Tables: len(want)}
	lsn, err := pglogrepl.ParseLSN(position)
	if err != nil {
		return proof, fmt.Errorf("read a position: %w", err)
	}
	scratch, drop, err := create(ctx, config.Scratch)
	if err != nil {
		return proof, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	result, failed := restore.Run(ctx, restore.Config{
		Store: config.Store, Codec: config.Codec, Into: scratch, Target: chain.Target{LSN: lsn}, Jobs: config.Jobs, Progress: config.Progress,
		Quiet: true, // The result is not encrypted, and pages and alerts show it. A restore by hand shows the whole error.
	})
	if ctx.Err() != nil {
		return proof, context.Cause(ctx)
	}
	proof.Base = result.Base
	if failed != nil {
		proof.Failure = "it cannot be restored: " + failed.Error()
	} else if proof.Rows, proof.Failure, err = compare(ctx, scratch, want); err != nil {
		return proof, err
	}
	proof.Took = config.Clock.Now().Sub(begun)
	return proof, chain.AddProof(ctx, config.Store, proof)
}

// source reads the checksums of the source's tables at a position.
func source(ctx context.Context, config Config) (position string, tables map[string]table, err error) {
	conn, err := wal.Connect(ctx, config.URL, "idle_in_transaction_session_timeout=0")
	if err != nil {
		return "", nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	random := make([]byte, 4) //nolint:mnd // Two proofs may run at the same time.
	_, _ = rand.Read(random)
	slot, err := pglogrepl.CreateReplicationSlot(ctx, conn, "archive_daymill_proof_"+hex.EncodeToString(random), "pgoutput", pglogrepl.CreateReplicationSlotOptions{
		Temporary: true, Mode: pglogrepl.LogicalReplication, SnapshotAction: "EXPORT_SNAPSHOT",
	})
	if err != nil {
		return "", nil, fmt.Errorf("create a snapshot to compare with: %w", err)
	}
	lsn, err := pglogrepl.ParseLSN(slot.ConsistentPoint)
	if err != nil {
		return "", nil, fmt.Errorf("create a snapshot to compare with: %w", err)
	}
	tables, err = sums(ctx, config.URL, slot.SnapshotName, func() { _ = conn.Close(context.WithoutCancel(ctx)) })
	return segment.LSN(lsn), tables, err
}

// reached waits until the archive has reached a position.
func reached(ctx context.Context, config Config, position string) error {
	reader := &chain.Reader{}
	begun := config.Clock.Now()
	db, err := postgres.Open(ctx, postgres.Config{URL: config.URL, ApplicationName: "daymill archive prove"})
	if err != nil {
		return err
	}
	defer db.Close()
	for looks, without := 1, 0; ; looks++ {
		archive, err := reader.Read(ctx, config.Store)
		if err != nil {
			return err
		}
		to, _ := archive.Written()
		switch {
		case to >= position:
			return nil
		case config.Clock.Now().Sub(begun) > config.Patience:
			return fmt.Errorf("the archive is at %s, and did not reach %s within %s: check that daymill archive run, or a worker, archives this database", to, position, config.Patience)
		}
		slot, _, err := wal.FindSlot(ctx, db, archive.Manifest.Slot)
		if err != nil {
			return err
		}
		if looks == 1 && config.Waiting != nil {
			config.Waiting(position, slot.Active)
		}
		if without++; slot.Active {
			without = 0
		}
		if without > absent {
			return ErrNobody
		}
		if err := config.Clock.Sleep(ctx, lookEvery); err != nil {
			return err
		}
	}
}

// usable returns an error if no scratch database can be created: otherwise only the end of the wait for the archive would show it.
func usable(ctx context.Context, server string) error {
	parsed, err := url.Parse(server)
	if err != nil || !strings.HasPrefix(parsed.Scheme, "postgres") {
		return errors.New("the scratch server must be a URL such as postgres://postgres@127.0.0.1:5432/postgres")
	}
	db, err := postgres.Open(ctx, postgres.Config{URL: server, ApplicationName: "daymill archive prove"})
	if err != nil {
		return fmt.Errorf("the scratch server cannot be used: %w", err)
	}
	defer db.Close()
	var super bool
	if err := db.QueryRow(ctx, "SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user").Scan(&super); err != nil {
		return fmt.Errorf("the scratch server cannot be used: %w", err)
	}
	if !super {
		return errors.New("the role on the scratch server is not a superuser, which a restore needs: give the URL of a superuser")
	}
	return nil
}

// create creates a scratch database.
func create(ctx context.Context, server string) (scratch string, drop func() error, err error) {
	parsed, err := url.Parse(server)
	if err != nil {
		return "", nil, errors.New("the scratch server's URL cannot be read")
	}
	random := make([]byte, 6) //nolint:mnd // Names of scratch databases must differ.
	_, _ = rand.Read(random)
	name := pgx.Identifier{"daymill_proof_" + hex.EncodeToString(random)}
	do := func(ctx context.Context, statement string) error {
		conn, err := pgx.Connect(ctx, server)
		if err != nil {
			return errors.New("the scratch server cannot be reached")
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("create or drop the scratch database: %w", err)
		}
		return nil
	}
	if err := do(ctx, "CREATE DATABASE "+name.Sanitize()+" TEMPLATE template0"); err != nil {
		return "", nil, err
	}
	parsed.Path = "/" + name[0]
	return parsed.String(), func() error {
		return do(context.WithoutCancel(ctx), "DROP DATABASE "+name.Sanitize()+" WITH (FORCE)")
	}, nil
}

// compare returns the first difference between the scratch database and want; empty if there is none.
func compare(ctx context.Context, scratch string, want map[string]table) (rows int64, difference string, err error) {
	have, err := sums(ctx, scratch, "", func() {})
	if err != nil {
		return 0, "", err
	}
	for name, w := range want {
		h, is := have[name]
		rows += h.rows
		switch {
		case !is:
			difference = "the relation " + name + " is missing after the restore"
		case h.rows != w.rows:
			difference = fmt.Sprintf("table %s has %s after the restore, and %d in the source", name, text.Plural(h.rows, "row"), w.rows)
		case h != w:
			difference = fmt.Sprintf("table %s differs after the restore: its checksum is different", name)
		}
	}
	for name := range have {
		if _, is := want[name]; !is {
			difference = "the relation " + name + " exists after the restore, but not in the source"
		}
	}
	return rows, difference, nil
}

// sums reads a checksum of each table as of a snapshot. The checksum does not depend on the order of the rows. For other relations, sums
// only records that they exist.
func sums(ctx context.Context, source, snapshot string, imported func()) (tables map[string]table, err error) {
	db, err := postgres.Open(ctx, postgres.Config{URL: source, ApplicationName: "daymill archive prove", StatementTimeout: comparison})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	conn, err := db.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer conn.Release()
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // It wrote nothing.
	if snapshot != "" {
		if _, err := tx.Exec(ctx, "SET TRANSACTION SNAPSHOT '"+strings.ReplaceAll(snapshot, "'", "''")+"'"); err != nil {
			return nil, fmt.Errorf("read as of the snapshot: %w", err)
		}
	}
	err = postgres.SetLocal(ctx, tx, postgres.Local{
		"search_path": "pg_catalog", "TimeZone": "UTC", "DateStyle": "ISO, YMD", "IntervalStyle": "postgres", "lc_monetary": "C",
		"extra_float_digits": "3", "bytea_output": "hex", "quote_all_identifiers": "off", "row_security": "off",
		"idle_in_transaction_session_timeout": "0",
	})
	if err != nil {
		return nil, err
	}
	imported()
	rows, err := tx.Query(ctx, `
		SELECT n.nspname::text, c.relname::text, c.relkind::text, c.relkind = 'r' AND c.relpersistence = 'p'
		FROM pg_catalog.pg_class AS c INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname NOT IN ('information_schema', 'daymill_archive', 'daymill_restore')
		ORDER BY 1, 2`)
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	type relation struct {
		Schema, Name, Kind string
		HasRows            bool
	}
	relations, err := pgx.CollectRows(rows, pgx.RowToStructByPos[relation])
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	tables = make(map[string]table, len(relations))
	for _, r := range relations {
		name, t := pgx.Identifier{r.Schema, r.Name}.Sanitize(), table{kind: r.Kind}
		if r.HasRows {
			err := tx.QueryRow(ctx, `SELECT count(*), coalesce(sum(hashtextextended((daymill_row.*)::text COLLATE "C", 0)::numeric), 0)::text FROM ONLY `+name+" AS daymill_row").Scan(&t.rows, &t.sum)
			if err != nil {
				return nil, fmt.Errorf("read table %s: %w", name, err)
			}
		}
		tables[name] = t
	}
	return tables, nil
}
