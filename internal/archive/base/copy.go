package base

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/daymill/daymill/internal/archive/ddl"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/postgres"
)

// largeTable is the size from which on the rows of a table are copied beside pg_dump, in bytes.
const largeTable = 8 << 20

// copySettings are those with which pg_dump writes values, and the archive's own; see run.
const copySettings = `SET client_encoding = 'UTF8'; SET DateStyle = ISO; SET IntervalStyle = postgres; SET extra_float_digits = 3; SET bytea_output = hex;
	SET TimeZone = 'UTC'; SET lc_monetary = 'C'; SET quote_all_identifiers = off; SET search_path = ''; SET row_security = off; SET synchronize_seqscans = off;
	SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0;
	SELECT pg_catalog.set_config(s.name, '0', false) FROM pg_catalog.pg_settings AS s WHERE s.name = 'transaction_timeout'`

// largeTables lists the tables whose rows are copied beside pg_dump, the largest first. Their size is that of their last VACUUM or ANALYZE, because
// functions that measure a table wait for its lock. It leaves tables of extensions to pg_dump, which knows
// which of their rows to dump, and partitions by hash, whose rows may belong to another partition after a restore.
const largeTables = `
	WITH RECURSIVE hashed AS (
		SELECT i.inhrelid AS oid FROM pg_catalog.pg_inherits AS i INNER JOIN pg_catalog.pg_partitioned_table AS p ON p.partrelid = i.inhparent
		WHERE p.partstrat = 'h'
		UNION
		SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i INNER JOIN hashed AS h ON h.oid = i.inhparent
	)
	SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name, s.bytes, (
		SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_catalog.pg_attribute AS a
		WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
	) AS columns
	FROM pg_catalog.pg_class AS c INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
	LEFT JOIN pg_catalog.pg_class AS t ON t.oid = c.reltoastrelid
	CROSS JOIN LATERAL (SELECT (c.relpages + coalesce(t.relpages, 0))::bigint * pg_catalog.current_setting('block_size')::bigint AS bytes) AS s
	WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname NOT LIKE 'pg\_%' AND n.nspname NOT IN ('information_schema', $2)
		AND s.bytes >= $1 AND c.oid NOT IN (SELECT h.oid FROM hashed AS h)
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
	ORDER BY 2 DESC, 1`

type largeOne struct {
	Name    string // quoted
	Bytes   int64
	Columns *string // quoted; nil if there are none
}

// copier copies the rows of some large tables over a connection of its own.
type copier struct {
	conn   *pgx.Conn
	tables []largeOne
	bytes  int64
}

// copiers opens connections that see a snapshot, and gives each a share of the large tables. They lock their tables before pg_dump begins: a
// statement that rewrites or truncates a table must not come between pg_dump's lock, with which it would wait, and that of a copier, which
// would then find no row of the snapshot.
func copiers(ctx context.Context, config Config, snapshot string) (all []*copier, err error) {
	defer func() {
		if err != nil {
			closeAll(ctx, all)
		}
	}()
	for range config.Jobs - 1 {
		conn, err := postgres.Connect(ctx, config.URL, "daymill archive")
		if err != nil {
			return all, err
		}
		all = append(all, &copier{conn: conn})
		// The settings are a transaction of their own, because a snapshot can only be set before the first query.
		for _, statements := range []string{copySettings, "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", "SET TRANSACTION SNAPSHOT '" + snapshot + "'"} {
			if _, err := conn.Exec(ctx, statements, pgx.QueryExecModeSimpleProtocol); err != nil {
				return all, fmt.Errorf("use the snapshot: %w", err)
			}
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	rows, _ := all[0].conn.Query(ctx, largeTables, largeTable, ddl.Schema) // Its error is returned by CollectRows.
	tables, err := pgx.CollectRows(rows, pgx.RowToStructByPos[largeOne])
	if err != nil {
		return all, fmt.Errorf("list large tables: %w", err)
	}
	for _, table := range tables {
		if table.Columns == nil {
			continue
		}
		least := slices.MinFunc(all, func(a, b *copier) int { return cmp.Compare(a.bytes, b.bytes) })
		if _, err := least.conn.Exec(ctx, "LOCK TABLE ONLY "+table.Name+" IN ACCESS SHARE MODE"); err != nil {
			return all, fmt.Errorf("lock table %s: %w", table.Name, err)
		}
		least.tables, least.bytes = append(least.tables, table), least.bytes+table.Bytes
	}
	return all, nil
}

func closeAll(ctx context.Context, all []*copier) {
	for _, one := range all {
		_ = one.conn.Close(context.WithoutCancel(ctx)) // It has only read.
	}
}

// write writes the rows of the tables as pg_dump does.
func (c *copier) write(ctx context.Context, to io.Writer) error {
	for _, table := range c.tables {
		of := table.Name + " (" + *table.Columns + ")"
		if _, err := io.WriteString(to, "COPY "+of+" FROM stdin;\n"); err != nil {
			return err
		}
		if _, err := c.conn.PgConn().CopyTo(ctx, to, "COPY "+of+" TO STDOUT"); err != nil {
			return fmt.Errorf("copy table %s: %w", table.Name, err)
		}
		if _, err := io.WriteString(to, "\\.\n"); err != nil {
			return err
		}
	}
	return nil
}

// copy puts the rows of the copier's tables into parts.
func (c *copier) copy(ctx context.Context, d *dump) error {
	from, to := io.Pipe()
	d.from = bufio.NewReaderSize(from, 1<<20)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := c.write(ctx, to)
		_ = to.CloseWithError(err) // It never fails.
		return err
	})
	group.Go(func() error {
		err := d.read()
		if err == nil {
			err = d.parts(ctx)
		}
		_ = from.CloseWithError(cmp.Or(err, io.ErrClosedPipe)) // It never fails.
		return err
	})
	return group.Wait()
}

// dumpAll runs pg_dump and the copiers at the same time, and returns the files that they wrote, in the order of a restore.
func dumpAll(ctx context.Context, config Config, codec store.Codec, dir, snapshot string) (files []store.File, err error) {
	beside, err := copiers(ctx, config, snapshot)
	if err != nil {
		return nil, err
	}
	var numbers atomic.Int64
	begin := func() *dump {
		return &dump{store: config.Store, codec: codec, dir: dir, part: partBytes, numbers: &numbers}
	}
	arguments := []string{"--snapshot=" + snapshot, "--encoding=UTF8", "--no-tablespaces", "--exclude-table-data=" + ddl.Schema + ".*"}
	whole := begin()
	dumps := []*dump{whole}
	group, ctx := errgroup.WithContext(ctx)
	for _, one := range beside {
		for _, table := range one.tables {
			arguments = append(arguments, "--exclude-table-data="+table.Name)
		}
		d := begin()
		dumps = append(dumps, d)
		group.Go(func() error {
			defer closeAll(ctx, []*copier{one}) // pg_dump may wait for a statement that waits for this lock.
			return one.copy(ctx, d)
		})
	}
	group.Go(func() error {
		return run(ctx, config.URL, func(from io.Reader) error {
			whole.from = bufio.NewReaderSize(from, 1<<20)
			return whole.run(ctx)
		}, "pg_dump", arguments...)
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, d := range dumps {
		files = append(files, d.files...)
	}
	slices.SortStableFunc(files, func(a, b store.File) int { return cmp.Compare(a.Name, b.Name) })
	return files, nil
}
