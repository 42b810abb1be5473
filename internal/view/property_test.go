package view_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view"
)

var (
	seeds = flag.Int("view.seeds", 8, "number of random definitions of TestProperty")
	seed  = flag.Uint64("view.seed", 0, "the first seed of TestProperty")
)

// world is a random schema and a random view over it.
type world struct {
	*rand.Rand

	tables []randomTable
	// two says that the tables of schema s1 are in another database.
	two bool
}

// other is the name of the other database.
const other = "other"

type randomTable struct {
	schema, name string
	composite    bool
}

func (t randomTable) sql() string { return `"` + t.schema + `"."` + t.name + `"` }

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 7))}
	for i := range 2 + w.IntN(3) {
		t := randomTable{schema: "s" + fmt.Sprint(w.IntN(2)), name: fmt.Sprintf("t%d", i), composite: w.IntN(3) == 0}
		if i == 1 && w.IntN(2) == 0 && w.tables[0].schema != t.schema {
			t.name = w.tables[0].name // Two tables of the same name in two schemas.
		}
		w.tables = append(w.tables, t)
	}
	return w
}

// elsewhere reports whether a table is in the other database.
func (w *world) elsewhere(t randomTable) bool { return w.two && t.schema == "s1" }

// schema returns the SQL that creates the tables of one database.
func (w *world) schema(elsewhere bool) string {
	sql := `CREATE SCHEMA s0; CREATE SCHEMA s1;`
	for _, t := range w.tables {
		if w.elsewhere(t) != elsewhere {
			continue
		}
		key := "k1"
		if t.composite {
			key = "k1, k2"
		}
		sql += fmt.Sprintf(`CREATE TABLE %s (k1 integer, k2 text COLLATE "C" NOT NULL DEFAULT 'x', a integer, b integer, c text, j jsonb, z timestamptz, PRIMARY KEY (%s));`, t.sql(), key)
	}
	return sql
}

// definition returns a random view: a chain or a star of inner and left joins, including self-joins.
func (w *world) definition(name string) string {
	lines := []string{"name: " + name, "indexes: [[c0_0]]", "search: {columns: [m0]}"}
	if w.IntN(3) == 0 {
		lines = append(lines, "where: \"a IS NULL OR a <> 3\"")
	}
	lines = append(lines, "tables:")
	count := 1 + w.IntN(6)
	for i := range count {
		t := w.tables[w.IntN(len(w.tables))]
		line := fmt.Sprintf("  - {schema: %s, table: %s, as: x%d", t.schema, t.name, i)
		if w.elsewhere(t) {
			line += ", database: " + other
		}
		if i > 0 {
			first, second := []string{"k1", "a", "b"}[w.IntN(3)], []string{"k1", "k1", "a", "b"}[w.IntN(4)]
			join := fmt.Sprintf("%s: %s", first, second)
			if w.IntN(4) == 0 {
				join += ", c: k2"
			}
			line += fmt.Sprintf(", to: x%d, join: {%s}", w.IntN(i), join)
			if w.IntN(2) == 0 {
				line += ", left: true"
			}
		}
		columns := []string{fmt.Sprintf("{column: c, as: m%d, map: {v1: one, v2: \"it's\"}, else: other}", i)}
		for k, c := range []string{"a", "k1", "z", "k2", "b"} {
			if k == 0 || w.IntN(2) == 0 {
				columns = append(columns, fmt.Sprintf("%s: c%d_%d", c, i, k))
			}
		}
		if w.IntN(2) == 0 {
			columns = append(columns, fmt.Sprintf("{column: j, json: {j%d: {path: [n], type: int}, o%d: \"o'c\"}}", i, i))
		}
		if w.IntN(3) == 0 {
			columns = append(columns, fmt.Sprintf("{expression: \"coalesce(a, 0) + coalesce(b, 0)\", as: e%d}", i))
		}
		for k, c := range columns {
			if strings.Count(c, ":") == 1 {
				columns[k] = "{" + c + "}"
			}
		}
		lines = append(lines, line+", columns: ["+strings.Join(columns, ", ")+"]}")
	}
	return strings.Join(lines, "\n")
}

func (w *world) value() string {
	if w.IntN(5) == 0 {
		return "NULL"
	}
	return fmt.Sprint(w.IntN(7))
}

// statement returns a random statement of an application on a table.
func (w *world) statement(table randomTable) string {
	t := table.sql()
	key := fmt.Sprintf("k1 = %d", w.IntN(9))
	if w.IntN(3) == 0 {
		key = fmt.Sprintf("a = %d", w.IntN(7))
	}
	switch w.IntN(14) {
	case 0, 1, 2, 3, 4:
		return fmt.Sprintf(`INSERT INTO %s VALUES (%d, '%s', %s, %s, 'v%d', '{"n": %s, "o''c": "q"}', now()) ON CONFLICT DO NOTHING`, t, w.IntN(9),
			[]string{"x", "y", "v1"}[w.IntN(3)], w.value(), w.value(), w.IntN(4), []string{"1", "null", `"many"`, "1.5"}[w.IntN(4)])
	case 5, 6, 7:
		return fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s", t, []string{"a", "b"}[w.IntN(2)], w.value(), key)
	case 8:
		return fmt.Sprintf("UPDATE %s SET c = 'v%d' WHERE %s", t, w.IntN(4), key)
	case 9:
		return fmt.Sprintf("UPDATE %s SET k1 = %d WHERE %s", t, w.IntN(9), key)
	case 10, 11:
		return fmt.Sprintf("DELETE FROM %s WHERE %s", t, key)
	case 12:
		if w.IntN(6) == 0 {
			return "TRUNCATE " + t
		}
		return "SELECT 1"
	default:
		return fmt.Sprintf("UPDATE %s SET z = now()", t)
	}
}

// work runs statements in transactions, some of which are rolled back. Statements may fail, as those of an application do.
func (w *world) work(ctx context.Context, b *testBundle, transactions int) {
	for range transactions {
		// A transaction is in one database: that of the first table it changes.
		table := w.tables[w.IntN(len(w.tables))]
		elsewhere := w.elsewhere(table)
		source := b.DB
		if elsewhere {
			if source = b.sources[other]; source == nil {
				continue
			}
		}
		tx, err := source.Begin(ctx)
		if err != nil {
			return
		}
		for range 1 + w.IntN(4) {
			if _, err = tx.Exec(ctx, w.statement(table)); err != nil {
				break
			}
			if next := w.tables[w.IntN(len(w.tables))]; w.elsewhere(next) == elsewhere {
				table = next
			}
		}
		if err != nil || w.IntN(6) == 0 {
			_ = tx.Rollback(ctx)
		} else {
			_ = tx.Commit(ctx)
		}
	}
}

// TestProperty: whatever the definition is and whatever happens, also while tables are built, the table equals the SELECT when all changes are
// applied.
func TestProperty(t *testing.T) {
	t.Parallel()
	installed := pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_replication_slots": "100", "max_wal_senders": "100"})
	for i := range *seeds {
		number := *seed + uint64(i)
		mode := []string{stream.ModeTrigger, stream.ModeWAL}[number%2]
		t.Run(fmt.Sprintf("%d_%s", number, mode), func(t *testing.T) {
			t.Parallel()
			w := newWorld(number)
			w.two = number%4 >= 2
			b := setupOn(t, pgtest.On(t, server, installed), w.schema(false))
			if w.two {
				b.sources[other] = pgtest.On(t, server, installed)
				b.database(other, b.sources[other])
				_, err := b.sources[other].Exec(t.Context(), w.schema(true)+marks)
				require.NoError(t, err)
			}
			b.engine.Most, b.engine.Chunk = 1+w.IntN(20), 1+w.IntN(5)
			w.work(t.Context(), b, 60)
			stop := b.capture(t, mode)
			var texts []string
			for k := range 3 {
				texts = append(texts, w.definition(fmt.Sprintf("v%d", k)))
			}
			for _, text := range texts {
				b.apply(t, read(t, text))
			}
			if b.quietly(t, "SELECT count(*) > 0 FROM capture.stream WHERE name = $1", other) {
				b.own(t, mode, other)
			} else {
				delete(b.sources, other) // No view uses it.
			}
			var wg sync.WaitGroup
			wg.Go(func() { w.work(t.Context(), b, 150) })
			for range 10 { // Build and refresh during the work.
				b.step(t.Context(), t)
			}
			wg.Wait()
			b.quiet(t)
			for k, text := range texts {
				t.Log(text)
				b.exact(t, fmt.Sprintf("v%d", k))
				b.mirrored(t, fmt.Sprintf("v%d", k))
			}
			for range 4 { // Nothing is built: only the changes keep the view up to date.
				w.work(t.Context(), b, 20)
				b.quiet(t)
				for k := range texts {
					b.exact(t, fmt.Sprintf("v%d", k))
					b.mirrored(t, fmt.Sprintf("v%d", k))
				}
			}
			_, err := b.engine.Rebuild(t.Context(), "v0", who)
			require.NoError(t, err)
			wg.Go(func() { w.work(t.Context(), b, 50) })
			b.step(t.Context(), t)
			wg.Wait()
			b.quiet(t)
			b.exact(t, "v0")
			require.Empty(t, pgtest.Column[string](t, b.DB, "SELECT error FROM view.task WHERE state <> 'done' AND state <> 'canceled'"))
			for k := range texts {
				_, err := b.engine.Verify(t.Context(), fmt.Sprintf("v%d", k), false, who)
				require.NoError(t, err)
			}
			for b.step(t.Context(), t) {
				continue
			}
			require.Equal(t, []string{"done 0", "done 0", "done 0"}, pgtest.Column[string](t, b.DB, "SELECT state || ' ' || differing FROM view.task WHERE kind = 'verify' ORDER BY id"))
			stop()
			var served []view.View
			served, err = view.List(t.Context(), b.DB.DB)
			require.NoError(t, err)
			require.Len(t, served, 3)
		})
	}
}
