package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/postgres"
)

// Part is a partition that has rows itself. No change of a row shows that such a partition was attached, detached, dropped, or truncated by
// itself. But then a table has other parts than before.
type Part struct {
	OID uint32 `json:"oid"`
	// Path is how the partition belongs to the table: the partition and those above it, each with the transaction that attached it.
	Path string `json:"path"`
	// File is the number of its file, which TRUNCATE changes. VACUUM FULL and others that rewrite the table change it, too.
	File uint32 `json:"file"`

	born []bool // whether the partitions of Path were created as partitions
}

// partsSQL reads the partitions of a table that have rows themselves. CREATE TABLE … PARTITION OF writes the rows of the catalog that describe the
// columns with one command. ATTACH PARTITION writes those of all columns again, except for the system's, such as ctid.
const partsSQL = `
WITH RECURSIVE tree (oid, path, born) AS (
    SELECT p.oid, ARRAY[p.edge], ARRAY[p.born] FROM parts AS p WHERE p.parent = $1
    UNION ALL
    SELECT p.oid, p.edge || t.path, p.born || t.born FROM tree AS t INNER JOIN parts AS p ON p.parent = t.oid
), parts AS NOT MATERIALIZED (
    SELECT i.inhrelid AS oid, i.inhparent AS parent, pg_catalog.format('%s:%s', i.inhrelid, i.xmin) AS edge, EXISTS (
        SELECT FROM pg_catalog.pg_attribute AS s INNER JOIN pg_catalog.pg_attribute AS a ON a.attrelid = s.attrelid AND a.attnum > 0
        WHERE s.attrelid = i.inhrelid AND s.attname = 'ctid' AND s.xmin = i.xmin AND a.xmin = s.xmin AND a.cmin = s.cmin
    ) AS born
    FROM pg_catalog.pg_inherits AS i WHERE NOT i.inhdetachpending
)
SELECT t.oid, c.relfilenode, t.path, t.born FROM tree AS t INNER JOIN pg_catalog.pg_class AS c ON c.oid = t.oid WHERE c.relkind <> 'p' ORDER BY t.oid`

// parts reads the partitions of a partitioned table. The result is not nil.
func parts(ctx context.Context, on postgres.DBTX, oid uint32) ([]Part, error) {
	rows, err := on.Query(ctx, partsSQL, oid)
	if err != nil {
		return nil, fmt.Errorf("read the partitions of a table: %w", err)
	}
	found, err := pgx.AppendRows([]Part{}, rows, func(row pgx.CollectableRow) (p Part, err error) {
		var path []string
		err = row.Scan(&p.OID, &p.File, &path, &p.born)
		p.Path = strings.Join(path, "/")
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the partitions of a table: %w", err)
	}
	return found, nil
}

// newSQL says whether a partition has rows, which is true if it has had any since its file exists, and whether it lacks the trigger that its
// table has, so that changes by statements that name the partition are not captured yet.
const newSQL = `
SELECT c.relkind <> 'r' OR pg_catalog.pg_relation_size(c.oid) > 0, EXISTS (
    SELECT FROM pg_catalog.pg_trigger AS r INNER JOIN pg_catalog.pg_proc AS f ON f.oid = r.tgfoid
    WHERE r.tgrelid = $2 AND f.proname = 'insert_' || $2::oid::text
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger AS g WHERE g.tgrelid = c.oid AND g.tgfoid = f.oid)
)
FROM pg_catalog.pg_class AS c WHERE c.oid = $1`

// Regroup compares the partitions of a table with those that were known. It returns those that are known from now on, and whether the table may
// have got or lost rows that no change shows.
//
// A new partition that is empty, or that was created as a partition, gets its rows by changes. It becomes known as soon as its changes are captured.
func (s Source) Regroup(ctx context.Context, on postgres.DBTX, now []Part) (known []Part, moved bool, err error) {
	if s.Parts == nil { // The view is older than this check, or the table has no partitions.
		return now, false, nil
	}
	before, edges := map[string]Part{}, map[string]bool{}
	for _, p := range s.Parts {
		before[p.Path] = p
		for edge := range strings.SplitSeq(p.Path, "/") {
			edges[edge] = true
		}
	}
	known = []Part{}
	for _, p := range now {
		old, has := before[p.Path]
		delete(before, p.Path)
		if has {
			known, moved = append(known, p), moved || p.File != old.File
			continue
		}
		var filled, missed bool
		rows, err := on.Query(ctx, newSQL, p.OID, s.OID)
		if err == nil {
			_, err = pgx.ForEachRow(rows, []any{&filled, &missed}, func() error { return nil }) // It may have been dropped.
		}
		if err != nil {
			return nil, false, fmt.Errorf("look at a new partition: %w", err)
		}
		if missed {
			continue // The next check looks again.
		}
		attached := false
		for k, edge := range strings.Split(p.Path, "/") {
			attached = attached || !p.born[k] && !edges[edge]
		}
		// A new table's file has the number of the table. If it has another one, the partition may have lost rows by TRUNCATE.
		known, moved = append(known, p), moved || p.File != p.OID || attached && filled
	}
	return known, moved || len(before) > 0, nil
}

// SameParts reports whether two lists have the same partitions.
func SameParts(a, b []Part) bool {
	return (a == nil) == (b == nil) && slices.EqualFunc(a, b, func(a, b Part) bool { return a.OID == b.OID && a.Path == b.Path && a.File == b.File })
}
