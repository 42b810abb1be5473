package segment

import (
	"context"
	"fmt"
	"strings"

	"github.com/daymill/daymill/internal/archive/row"
	"github.com/daymill/daymill/internal/postgres"
)

// Sequences returns statements that set the sequences that have moved since the last call, according to before, because the stream does not
// have sequences. A statement has no effect if the sequence does not exist when it runs.
func Sequences(ctx context.Context, source postgres.DBTX, before map[string]string) (string, error) {
	rows, err := source.Query(ctx, `
		SELECT pg_catalog.format('%I.%I', s.schemaname, s.sequencename), s.last_value::text FROM pg_catalog.pg_sequences AS s
		WHERE s.last_value IS NOT NULL AND s.schemaname NOT LIKE 'pg\_temp%'`)
	if err != nil {
		return "", fmt.Errorf("read the sequences: %w", err)
	}
	defer rows.Close()
	var b strings.Builder
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return "", fmt.Errorf("read the sequences: %w", err)
		}
		if before[name] == value {
			continue
		}
		before[name] = value
		b.WriteString("SELECT setval(c.oid::regclass, " + value + ", true) FROM pg_class AS c INNER JOIN pg_sequence AS s ON s.seqrelid = c.oid WHERE c.oid = to_regclass(" +
			row.Literal(name) + ") AND " + value + " BETWEEN s.seqmin AND s.seqmax;\n")
	}
	if err := rows.Err(); err != nil {
		return "", fmt.Errorf("read the sequences: %w", err)
	}
	return b.String(), nil
}
