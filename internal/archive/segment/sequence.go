package segment

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/archive/row"
	"github.com/daymill/daymill/internal/postgres"
)

// Sequences returns statements that set the sequences that have moved since the last call, according to before, because the stream does not
// have sequences. A statement has no effect if the sequence does not exist when it runs.
func Sequences(ctx context.Context, source postgres.DBTX, before map[string]string) (string, error) {
	const tries = 10
	now, err := values(ctx, source)
	for try := 1; try < tries && postgres.Code(err) == pgerrcode.InternalError; try++ { // A sequence was dropped while Postgres read its value.
		now, err = values(ctx, source)
	}
	if err != nil {
		return "", fmt.Errorf("read the sequences: %w", err)
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(now)) {
		value := now[name]
		if before[name] == value {
			continue
		}
		before[name] = value
		b.WriteString("SELECT setval(c.oid::regclass, " + value + ", true) FROM pg_class AS c INNER JOIN pg_sequence AS s ON s.seqrelid = c.oid WHERE c.oid = to_regclass(" +
			row.Literal(name) + ") AND " + value + " BETWEEN s.seqmin AND s.seqmax;\n")
	}
	return b.String(), nil
}

// values returns the last value of each sequence that has one.
func values(ctx context.Context, source postgres.DBTX) (map[string]string, error) {
	rows, _ := source.Query(ctx, `
		SELECT pg_catalog.format('%I.%I', s.schemaname, s.sequencename), s.last_value::text FROM pg_catalog.pg_sequences AS s
		WHERE s.last_value IS NOT NULL AND s.schemaname NOT LIKE 'pg\_temp%'`) // Its error is returned by ForEachRow.
	all := map[string]string{}
	var name, value string
	_, err := pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		all[name] = value
		return nil
	})
	return all, err
}
