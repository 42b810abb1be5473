package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/pgserver"
)

// Contenders of the archive.
const (
	streamArchive = "stream: `archive run`"
	streamRaw     = "stream: `pg_recvlogical` to a file"
	baseArchive   = "dump: `archive base`"
	basePlain     = "dump: `pg_dump` to a file"
	restoreAll    = "restore: `archive restore`, base and all transactions"
	restoreDump   = "restore: `pg_restore` of a dump made at the end"
	loadAlone     = "pgbench alone"
	loadArchived  = "pgbench while archived"
	loadReplayed  = "pgbench alone, for the transactions of a restore" // Only for a ratio.
)

// replayed is how many runs of pgbench the archive has, and a restore repeats.
const replayed = 2

// archived is one round of the scenario: a database of pgbench with an archive.
type archived struct {
	*bench

	server   *pgserver.Server
	programs string // where the server's programs are
	url, dir string
	slot     string
	per      int // transactions of each run of pgbench
	into     samples
}

// archiveTransactions compares the archive with what Postgres has for the same purpose, on a cluster of its own, because it needs wal_level = logical.
func archiveTransactions(ctx context.Context, b *bench) (result Result, err error) {
	binaries, err := pgserver.Find(ctx)
	if err != nil {
		return Result{}, err
	}
	for _, name := range []string{"pgbench", "pg_recvlogical", "pg_dump", "pg_restore", "psql"} {
		if _, err := os.Stat(filepath.Join(binaries.Dir, name)); err != nil {
			return Result{Notes: []string{"Not measured: there is no " + name + " beside the server's programs."}}, nil
		}
	}
	set := settings(b.options, false)
	set["wal_level"] = "logical"
	server, err := pgserver.Start(ctx, pgserver.Config{Binaries: binaries, Settings: set})
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, server.Close()) }() //nolint:contextcheck // It stops the server whatever happened.
	into := samples{}
	var plain, packed, written []float64
	per := max(b.rows/30, 50)
	for round := range b.rounds {
		a := &archived{bench: b, server: server, programs: binaries.Dir, dir: filepath.Join(b.dir, "archive-"+strconv.Itoa(round)), per: per, into: into}
		sizes, err := a.round(ctx, round)
		if err != nil {
			return Result{}, err
		}
		plain, packed, written = append(plain, sizes.text), append(packed, sizes.packed), append(written, sizes.wal)
	}
	return Result{
		Notes: []string{
			thousands(int64(per)) + " transactions of pgbench (scale 1, two clients) at a time, on a cluster with `wal_level` logical.",
			"`archive run` and `pg_recvlogical` read the same transactions, which were waiting. The times include the start of the processes.",
		},
		Rows: into.rows(streamArchive, streamRaw, baseArchive, basePlain, restoreAll, restoreDump, loadAlone, loadArchived),
		Ratios: []Ratio{
			{ID: "archive.stream", What: "time to archive transactions that are waiting, against `pg_recvlogical`", Value: into.ratio(wall, streamArchive, streamRaw)},
			{ID: "archive.base", What: "time of a base, against `pg_dump`", Value: into.ratio(wall, baseArchive, basePlain)},
			{ID: "archive.restore", What: "time of a restore with all transactions, against `pg_restore` of a dump made at the end", Value: into.ratio(wall, restoreAll, restoreDump)},
			{ID: "archive.replay", What: "time of that restore, against the time that its workload took", Value: into.ratio(wall, restoreAll, loadReplayed)},
			{ID: "archive.load", What: "transactions per second of pgbench while archived, against alone", Value: into.ratio(rate, loadArchived, loadAlone)},
			{ID: "archive.plain", What: "text of a transaction", Unit: "bytes", Value: spread(plain)},
			{ID: "archive.packed", What: "text of a transaction, compressed with gzip", Unit: "bytes", Value: spread(packed)},
			{ID: "archive.wal", What: "WAL of a transaction", Unit: "bytes", Value: spread(written)},
		},
	}, nil
}

// sizes are the bytes of a transaction.
type sizes struct{ text, packed, wal float64 }

func (a *archived) round(ctx context.Context, round int) (s sizes, err error) {
	if a.url, err = a.create(ctx, "round_"+strconv.Itoa(round)); err != nil {
		return s, err
	}
	if err := a.program(ctx, "pgbench", "--initialize", "--quiet", a.url); err != nil {
		return s, err
	}
	a.meter.step(loadAlone)
	if err := a.load(ctx, loadAlone); err != nil {
		return s, err
	}
	if _, err := a.archive(ctx, "init"); err != nil {
		return s, err
	}
	if err := a.query(ctx, "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()", &a.slot); err != nil {
		return s, err
	}
	for _, step := range []struct {
		name string
		do   func(ctx context.Context) error
	}{
		{loadArchived, a.beside}, {streamArchive, a.streams}, {baseArchive, a.bases}, {restoreAll, a.restores},
	} {
		a.meter.step(step.name)
		if err := step.do(ctx); err != nil {
			return s, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return a.sizes(ctx)
}

// load runs pgbench.
func (a *archived) load(ctx context.Context, as string) error {
	began := now()
	err := a.program(ctx, "pgbench", "--no-vacuum", "--client=2", "--jobs=2", "--transactions="+strconv.Itoa(a.per/2), a.url)
	took := now().Sub(began)
	if as != "" {
		a.into[as] = append(a.into[as], sample{wall: milliseconds(took), rate: float64(a.per) / took.Seconds()})
	}
	return err
}

// beside runs pgbench while the archive is kept.
func (a *archived) beside(ctx context.Context) error {
	stop, err := a.keep(ctx)
	if err != nil {
		return err
	}
	if err := a.load(ctx, loadArchived); err != nil {
		return errors.Join(err, stop())
	}
	return errors.Join(a.caughtUp(ctx), stop())
}

// streams lets transactions wait, and reads them with each contender.
func (a *archived) streams(ctx context.Context) error {
	raw := []string{"--slot=raw", "--dbname=" + a.url}
	if err := a.program(ctx, "pg_recvlogical", append(raw, "--create-slot", "--plugin=pgoutput")...); err != nil {
		return err
	}
	if err := a.load(ctx, ""); err != nil {
		return err
	}
	var end string
	if err := a.query(ctx, "SELECT pg_current_wal_lsn()::text", &end); err != nil {
		return err
	}
	began := now()
	stop, err := a.keep(ctx)
	if err != nil {
		return err
	}
	err = a.caughtUp(ctx)
	a.into[streamArchive] = append(a.into[streamArchive], sample{wall: milliseconds(now().Sub(began))})
	if err := errors.Join(err, stop()); err != nil {
		return err
	}
	began = now()
	err = a.program(ctx, "pg_recvlogical", append(raw, "--start", "--endpos="+end, "--file="+filepath.Join(a.bench.dir, "raw"),
		"--option=proto_version=1", "--option=publication_names="+a.slot)...)
	a.into[streamRaw] = append(a.into[streamRaw], sample{wall: milliseconds(now().Sub(began))})
	return errors.Join(err, a.program(ctx, "pg_recvlogical", append(raw, "--drop-slot")...))
}

func (a *archived) bases(ctx context.Context) error {
	began := now()
	if err := a.program(ctx, "pg_dump", "--file="+filepath.Join(a.bench.dir, "plain.sql"), a.url); err != nil {
		return err
	}
	a.into[basePlain] = append(a.into[basePlain], sample{wall: milliseconds(now().Sub(began))})
	p, err := a.archive(ctx, "base")
	a.into[baseArchive] = append(a.into[baseArchive], sample{wall: milliseconds(p.took)}.with(p.memory))
	return err
}

// restores runs a restore of the first base with all transactions, and a dump made now, and compares the two.
func (a *archived) restores(ctx context.Context) error {
	dumped := filepath.Join(a.bench.dir, "end.dump")
	if err := a.program(ctx, "pg_dump", "--format=custom", "--file="+dumped, "--exclude-schema=daymill_archive", "--no-publications", a.url); err != nil {
		return err
	}
	if err := a.newestBaseAside(); err != nil {
		return err
	}
	whole, err := a.create(ctx, "whole")
	if err != nil {
		return err
	}
	p, err := a.archive(ctx, "restore", "--into", whole)
	if err != nil {
		return err
	}
	a.into[restoreAll] = append(a.into[restoreAll], sample{wall: milliseconds(p.took)}.with(p.memory))
	alone := a.into[loadAlone][len(a.into[loadAlone])-1]
	a.into[loadReplayed] = append(a.into[loadReplayed], sample{wall: replayed * alone[wall]})
	fromDump, err := a.create(ctx, "from_dump")
	if err != nil {
		return err
	}
	began := now()
	// The event triggers of the archive are in the dump, too, without their functions.
	if err := a.program(ctx, "pg_restore", "--schema=public", "--dbname="+fromDump, dumped); err != nil {
		return err
	}
	a.into[restoreDump] = append(a.into[restoreDump], sample{wall: milliseconds(now().Sub(began))})
	const sum = "SELECT (SELECT count(*) FROM pgbench_history)::text || ' ' || (SELECT sum(hashtextextended(a::text, 0)::numeric) FROM pgbench_accounts AS a)::text"
	var want, have string
	if err := errors.Join(queryAt(ctx, a.url, sum, &want), queryAt(ctx, whole, sum, &have)); err != nil {
		return err
	}
	if want != have {
		return fmt.Errorf("the restored database has %s, and the source %s", have, want)
	}
	return nil
}

// newestBaseAside removes the list of files of the last base, so that a restore begins with the first one.
func (a *archived) newestBaseAside() error {
	lists, err := filepath.Glob(filepath.Join(a.dir, "bases", "*", "base.json"))
	if err != nil || len(lists) < 2 {
		return errors.Join(err, errors.New("the archive has no second base"))
	}
	return os.Remove(lists[len(lists)-1]) // They are sorted by position.
}

func (a *archived) sizes(ctx context.Context) (s sizes, err error) {
	lists, err := filepath.Glob(filepath.Join(a.dir, "segments", "*"))
	if err != nil {
		return s, err
	}
	for _, path := range lists {
		info, err := os.Stat(path)
		if err != nil {
			return s, err
		}
		s.text += float64(info.Size()) / float64(replayed*a.per)
	}
	output, err := exec.CommandContext(ctx, "sh", "-c", `cat "$1"/segments/*.sql | gzip -6 | wc -c`, "sh", a.dir).Output()
	if err == nil {
		_, err = fmt.Sscan(string(output), &s.packed)
	}
	s.packed /= replayed * float64(a.per)
	if err != nil {
		return s, err
	}
	var from, to string
	if err := a.query(ctx, "SELECT pg_current_wal_lsn()::text", &from); err != nil {
		return s, err
	}
	if err := a.load(ctx, ""); err != nil {
		return s, err
	}
	if err := a.query(ctx, "SELECT pg_current_wal_lsn()::text", &to); err != nil {
		return s, err
	}
	var bytes float64
	err = a.query(ctx, "SELECT pg_wal_lsn_diff('"+to+"', '"+from+"')::float8", &bytes)
	s.wal = bytes / float64(a.per)
	// The next round has a database of its own, whose transactions this slot would hold back.
	_, removed := a.archive(ctx, "remove")
	return s, errors.Join(err, removed)
}

// keep runs the archiver until stop is called.
func (a *archived) keep(ctx context.Context) (stop func() error, err error) {
	cmd := a.command(ctx, a.url, "archive", "run", "--archive", "file://"+a.dir, "--segment-age", "1h", "--segment-size", "10000000000")
	cmd.Env = append(cmd.Env, "PATH="+a.programs+string(os.PathListSeparator)+os.Getenv("PATH"))
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() error {
		return errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait())
	}, nil
}

// caughtUp waits until everything that is committed is archived.
func (a *archived) caughtUp(ctx context.Context) error {
	var end string
	if err := a.query(ctx, "SELECT pg_logical_emit_message(true, 'bench', '')::text", &end); err != nil {
		return err
	}
	return await(ctx, 10*time.Minute, 10*time.Millisecond, func() (done bool, err error) {
		err = a.query(ctx, "SELECT confirmed_flush_lsn > '"+end+"' FROM pg_replication_slots WHERE slot_name = '"+a.slot+"'", &done)
		return done, err
	})
}

func (a *archived) archive(ctx context.Context, arguments ...string) (process, error) {
	path := os.Getenv("PATH")
	if err := os.Setenv("PATH", a.programs+string(os.PathListSeparator)+path); err != nil {
		return process{}, err
	}
	defer func() { _ = os.Setenv("PATH", path) }()
	return a.daymill(ctx, a.url, append([]string{"archive"}, append(arguments, "--archive", "file://"+a.dir)...)...)
}

func (a *archived) program(ctx context.Context, name string, arguments ...string) error {
	output, err := exec.CommandContext(ctx, filepath.Join(a.programs, name), arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, output)
	}
	return nil
}

func (a *archived) query(ctx context.Context, sql string, into any) error {
	return queryAt(ctx, a.url, sql, into)
}

func queryAt(ctx context.Context, url, sql string, into any) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return conn.QueryRow(ctx, sql).Scan(into)
}

// create creates a database on the cluster of the scenario.
func (a *archived) create(ctx context.Context, name string) (url string, err error) {
	conn, err := pgx.Connect(ctx, a.server.URL("postgres"))
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, sql := range []string{"DROP DATABASE IF EXISTS %s WITH (FORCE)", "CREATE DATABASE %s TEMPLATE template0"} {
		if _, err := conn.Exec(ctx, fmt.Sprintf(sql, pgx.Identifier{name}.Sanitize())); err != nil {
			return "", fmt.Errorf("make a database: %w", err)
		}
	}
	return a.server.URL(name), nil
}
