package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"

	"github.com/jackc/pgx/v5"
)

// relation is a relation's rows: their number and a checksum, or the values of a sequence.
type relation struct{ kind, rows string }

// compare compares every relation's rows, and the two schemas as pg_dump writes them.
func (s *suite) compare(ctx context.Context) error {
	want, err := relations(ctx, s.url())
	if err != nil {
		return err
	}
	have, err := relations(ctx, s.restored.URL(database))
	if err != nil {
		return err
	}
	equal := 0
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if want[name] == have[name] {
			equal++
			continue
		}
		fmt.Fprintf(s.out, "%s: %s, restored %s\n", name, want[name], have[name])
		delete(have, name)
	}
	fmt.Fprintf(s.out, "%d of %d relations are equal\n", equal, len(want))
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, has := want[name]; !has {
			fmt.Fprintf(s.out, "%s: only restored\n", name)
		}
	}
	for name, url := range map[string]string{"source.sql": s.url(), "restored.sql": s.restored.URL(database)} {
		if err := dump(ctx, url, s.at(name)); err != nil {
			return err
		}
	}
	output, err := exec.CommandContext(ctx, "diff", "-U3", s.at("source.sql"), s.at("restored.sql")).Output()
	if _, is := errors.AsType[*exec.ExitError](err); err != nil && !is {
		return fmt.Errorf("diff: %w", err)
	}
	fmt.Fprintf(s.out, "schemas, as pg_dump writes them, in %s:\n%s", s.dir, output)
	if equal != len(want) || len(output) > 0 {
		return errors.New("the restored database differs")
	}
	return nil
}

// relations returns the relations of a database with rows of their own.
func relations(ctx context.Context, url string) (map[string]relation, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "SET extra_float_digits = 3; SET search_path = pg_catalog; SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off",
		pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return nil, err
	}
	rows, _ := conn.Query(ctx, `
		SELECT format('%I.%I', n.nspname, c.relname), c.relkind::text || c.relpersistence::text FROM pg_class AS c INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'm', 'S') AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\_%' AND n.nspname NOT IN ('information_schema', 'daymill_archive')`)
	all := map[string]relation{}
	var name, kind string
	if _, err := pgx.ForEachRow(rows, []any{&name, &kind}, func() error {
		all[name] = relation{kind: kind}
		return nil
	}); err != nil {
		return nil, err
	}
	for name, of := range all {
		sum := "SELECT count(*) || ' rows, ' || coalesce(sum(hashtextextended(its_row::text, 0)::numeric), 0) FROM ONLY " + name + " AS its_row"
		if of.kind[0] == 'S' {
			sum = "SELECT last_value || ' ' || is_called FROM " + name
		}
		if err := conn.QueryRow(ctx, sum).Scan(&of.rows); err != nil {
			of.rows = err.Error()
		}
		all[name] = of
	}
	return all, nil
}

// own matches the archive's own objects, comments, and lines that differ between two dumps of the same database.
var own = regexp.MustCompile(`(?m)^\\(un)?restrict .*\n|^--.*\n|^CREATE EVENT TRIGGER daymill_archive[^;]*;\n|^ALTER EVENT TRIGGER daymill_archive.*\n|^(CREATE|ALTER) PUBLICATION archive_daymill.*\n|^\n`)

func dump(ctx context.Context, url, path string) error {
	output, err := exec.CommandContext(ctx, "pg_dump", "--schema-only", "--no-tablespaces", "--exclude-schema=daymill_archive", "--dbname="+url).Output()
	if failed, is := errors.AsType[*exec.ExitError](err); is {
		return fmt.Errorf("pg_dump: %w: %s", err, failed.Stderr)
	}
	if err != nil {
		return fmt.Errorf("pg_dump: %w", err)
	}
	return os.WriteFile(path, own.ReplaceAll(output, nil), 0o600)
}
