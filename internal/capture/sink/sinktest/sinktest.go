// Package sinktest is the suite of tests that every sink passes: order, repeats, refusals, outages, reload, hostile names and
// payloads.
package sinktest

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
)

// Password is in the URLs of targets. No error may show it.
const Password = "hunter2secret"

// Poison is the id of a row that targets refuse.
const Poison = 666_666

// Target is what a sink delivers to in one test.
type Target interface {
	// Open returns a sink that delivers to the target.
	Open(t *testing.T) sink.Sink
	// Rows returns the rows that the target has: the position of the last change of each row, by [RowKey]. Deleted rows are not included.
	Rows(t *testing.T) map[string]int64
	// Poisoned turns a change of row [Poison] into one that the target refuses permanently.
	Poisoned(c change.Change) change.Change
	// Stop makes the target unreachable, and Start brings it back with its content.
	Stop(t *testing.T)
	Start(t *testing.T)
}

// Insert returns an insert of the row with an id into public.orders.
func Insert(position int64, id any) change.Change {
	return make_(position, change.Insert, id, map[string]any{"id": id, "status": "new", "note": "a"})
}

// Update returns an update of the row with an id.
func Update(position int64, id any) change.Change {
	c := make_(position, change.Update, id, map[string]any{"id": id, "status": fmt.Sprintf("at %d", position), "note": "b"})
	c.Old = c.Key
	return c
}

// Delete returns a delete of the row with an id.
func Delete(position int64, id any) change.Change {
	c := make_(position, change.Delete, id, nil)
	c.Old, c.New = c.Key, nil
	return c
}

// Sweep returns a sweep: rows whose last change is at or before upTo no longer exist.
func Sweep(position, upTo int64) change.Change {
	c := Delete(position, nil)
	c.Op, c.Key, c.Snapshot, c.Old = change.Sweep, nil, true, Object(map[string]any{"position": upTo})
	return c
}

func make_(position int64, op change.Op, id any, row map[string]any) change.Change {
	c := change.Change{
		Position: position, Stream: "app", Op: op, Schema: "public", Table: "orders", Key: Object(map[string]any{"id": id}),
		Unchanged: []string{}, XID: 700 + position, LSN: fmt.Sprintf("0/%X", 0x1000+position), Ordinal: 1, SchemaVersion: 1,
		CommittedAt: time.Date(2026, 3, 1, 10, 0, 0, 123456000, time.UTC),
	}
	if row != nil {
		c.New = Object(row)
	}
	return c
}

// Object returns a row as JSON.
func Object(row map[string]any) json.RawMessage {
	document, err := json.Marshal(row)
	if err != nil {
		panic(err)
	}
	return document
}

// RowKey returns the key of the row with an id in [Target.Rows].
func RowKey(id any) string { return sink.Text(id) }

// Fold returns the rows that result from changes in the order in which a target received them. Like a receiver, it ignores a change that
// is not newer than the row. It fails the test if changes of a row arrive out of order for the first time.
func Fold(t *testing.T, received []change.Change) map[string]int64 {
	t.Helper()
	rows, last, seen := map[string]int64{}, map[string]int64{}, map[int64]bool{}
	for _, c := range received {
		id, err := sink.KeyValues(c)
		require.NoError(t, err)
		if c.Position <= last[id] {
			require.True(t, seen[c.Position], "position %d of row %s came after %d", c.Position, id, last[id])
			continue
		}
		last[id], seen[c.Position] = c.Position, true
		rows[id] = c.Position
		if c.Op == change.Delete {
			delete(rows, id)
		}
	}
	return rows
}

// Run runs the suite. setup returns a target for each test.
func Run(t *testing.T, setup func(t *testing.T) Target) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Target){
		"Hostile":  testHostile,
		"Large":    testLarge,
		"Order":    testOrder,
		"Outages":  testOutages,
		"Refusals": testRefusals,
		"Reload":   testReload,
		"Repeats":  testRepeats,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, setup(t))
		})
	}
}

// Deliver delivers changes, all of which must be accepted.
func Deliver(t *testing.T, s sink.Sink, changes ...change.Change) {
	t.Helper()
	refusals, err := s.Deliver(t.Context(), changes)
	require.NoError(t, err)
	require.Empty(t, refusals)
}

func history() []change.Change {
	return []change.Change{Insert(1, 1), Update(2, 1), Insert(3, 2), Delete(4, 2), Insert(5, 3), Insert(6, 2), Update(7, 3), Delete(8, 3)}
}

func testOrder(t *testing.T, target Target) {
	s := target.Open(t)
	changes := history()
	Deliver(t, s, changes[:3]...)
	Deliver(t, s, changes[3:]...)
	require.Equal(t, map[string]int64{"1": 2, "2": 6}, target.Rows(t))
}

func testRepeats(t *testing.T, target Target) {
	s := target.Open(t)
	changes := history()
	Deliver(t, s, changes...)
	for _, again := range [][]change.Change{changes[:1], changes[:4], changes[2:5], changes[3:4], changes} {
		Deliver(t, s, again...)
		require.Equal(t, map[string]int64{"1": 2, "2": 6}, target.Rows(t))
	}
}

func testReload(t *testing.T, target Target) {
	changes := history()
	first := target.Open(t)
	Deliver(t, first, changes[:5]...)
	require.NoError(t, first.Close())
	Deliver(t, target.Open(t), changes[3:]...)
	require.Equal(t, map[string]int64{"1": 2, "2": 6}, target.Rows(t))
}

func testRefusals(t *testing.T, target Target) {
	s := target.Open(t)
	changes := []change.Change{
		Insert(1, 1), Insert(2, 2), target.Poisoned(Insert(3, Poison)), Insert(4, 4), Update(5, 1), Insert(6, 6),
	}
	refusals, err := s.Deliver(t.Context(), changes)
	require.NoError(t, err)
	require.Len(t, refusals, 1)
	require.Equal(t, 2, refusals[0].Index)
	require.NotEmpty(t, refusals[0].Reason)
	require.LessOrEqual(t, len(refusals[0].Answer), sink.MaxAnswer)
	require.NotContains(t, refusals[0].Reason+refusals[0].Answer, Password)
	require.Equal(t, map[string]int64{"1": 5, "2": 2, "4": 4, "6": 6}, target.Rows(t))
}

func testOutages(t *testing.T, target Target) {
	s := target.Open(t)
	Deliver(t, s, Insert(1, 1))
	target.Stop(t)
	refusals, err := s.Deliver(t.Context(), []change.Change{Update(2, 1), Insert(3, 2)})
	require.Error(t, err)
	require.Empty(t, refusals)
	require.NotContains(t, err.Error(), Password)
	target.Start(t)
	// Clients may take a moment to notice that the target is back: retry until it works, as the consumer does.
	require.Eventually(t, func() bool {
		refusals, err := s.Deliver(t.Context(), []change.Change{Update(2, 1), Insert(3, 2)})
		return err == nil && len(refusals) == 0
	}, time.Minute, 20*time.Millisecond)
	require.Equal(t, map[string]int64{"1": 2, "2": 3}, target.Rows(t))
}

func testHostile(t *testing.T, target Target) {
	s := target.Open(t)
	ids := []string{
		`'; DROP TABLE orders; --`, `"`, `\`, "a\r\nDEL x\r\n", `{{ .new }}`, `../../etc/passwd`, `a,b`, `<script>alert(1)</script>`,
		`%s%n`, "\u202egnp", `_bulk?refresh`, `*`, `> .$`, strings200(), "é😀",
	}
	var changes []change.Change
	want := map[string]int64{}
	for i, id := range ids {
		changes = append(changes, Insert(int64(i+1), id))
		want[id] = int64(i + 1)
	}
	Deliver(t, s, changes...)
	require.Equal(t, want, target.Rows(t))
}

func testLarge(t *testing.T, target Target) {
	s := target.Open(t)
	var changes []change.Change
	want := map[string]int64{}
	for i := range 1000 {
		changes = append(changes, Insert(int64(i+1), i))
		want[RowKey(json.Number(fmt.Sprint(i)))] = int64(i + 1)
	}
	Deliver(t, s, changes...)
	require.Equal(t, want, target.Rows(t))
}

func strings200() string {
	long := make([]rune, 200)
	for i := range long {
		long[i] = 'x'
	}
	return string(long)
}
