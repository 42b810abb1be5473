package log_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var began = time.Date(2026, time.March, 1, 10, 0, 0, 123456000, time.UTC)

type testBundle struct {
	*pgtest.DB

	writer *log.Writer
}

func setup(t *testing.T) *testBundle {
	t.Helper()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	b := &testBundle{DB: db}
	b.writer = b.take(t, "one")
	return b
}

// take takes the stream, also from another owner.
func (b *testBundle) take(t *testing.T, owner string) *log.Writer {
	t.Helper()
	b.Do(t, "UPDATE capture.stream SET beat_at = now() - interval '1 hour'")
	w, err := log.Take(t.Context(), log.Config{DB: b.DB.DB, Stream: "app", Owner: owner, Partition: 100})
	require.NoError(t, err)
	return w
}

func rows(count int) []change.Change {
	list := make([]change.Change, count)
	for i := range list {
		list[i] = change.Change{
			Op: change.Update, Schema: "public", Table: "orders",
			Key: json.RawMessage(fmt.Sprintf(`{"id": %d}`, i%17)), Old: json.RawMessage(`{"id": 1, "v": "O'Hara\\"}`),
			New: json.RawMessage(`{"id": 1}`), Unchanged: []string{"body", `"; "`}, XID: 771, LSN: "0/1A2B3C8", Ordinal: i + 1,
			CommittedAt: began, SchemaVersion: 4,
		}
	}
	return list
}

func (b *testBundle) read(t *testing.T, query log.Query) ([]change.Change, int64) {
	t.Helper()
	query.Stream = "app"
	changes, upTo, err := log.Log{}.Read(t.Context(), b.DB.DB, query)
	require.NoError(t, err)
	return changes, upTo
}

func (b *testBundle) partitions(t *testing.T) int {
	t.Helper()
	var count int
	require.NoError(t, b.QueryRow(t.Context(), "SELECT count(*) FROM pg_partition_tree('capture.log') WHERE isleaf").Scan(&count))
	return count
}

// TestLand: Read returns what Land wrote, with growing positions.
func TestLand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	want := rows(3)
	want[1].Op, want[1].New, want[1].Unchanged, want[1].KeyChanged, want[1].Snapshot = change.Delete, nil, nil, true, true
	want[2].Op, want[2].Key, want[2].Old, want[2].New = change.Truncate, nil, nil, nil
	require.NoError(t, b.writer.Land(t.Context(), want, log.Mark{LSN: "0/1A2B3C8", Seen: "1:2:", CommittedAt: began}))
	require.Equal(t, int64(3), b.writer.Position())
	require.Equal(t, int64(3), want[2].Position)
	got, upTo := b.read(t, log.Query{Limit: 10})
	require.Equal(t, want, got)
	require.Equal(t, int64(3), upTo)

	var lsn, seen string
	require.NoError(t, b.QueryRow(t.Context(), "SELECT lsn, seen FROM capture.stream").Scan(&lsn, &seen))
	require.Equal(t, "0/1A2B3C8 1:2:", lsn+" "+seen)
	require.NoError(t, b.writer.Land(t.Context(), nil, log.Mark{LSN: "0/1A2B3C9"}))
	require.NoError(t, b.QueryRow(t.Context(), "SELECT lsn, seen FROM capture.stream").Scan(&lsn, &seen))
	require.Equal(t, "0/1A2B3C9 1:2:", lsn+" "+seen)
}

// TestLand_Fenced: an owner that has lost the stream cannot write, and nobody can take the stream from an owner that is alive.
func TestLand_Fenced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.writer.Land(t.Context(), rows(5), log.Mark{}))
	_, err := log.Take(t.Context(), log.Config{DB: b.DB.DB, Stream: "app"})
	require.ErrorIs(t, err, log.ErrTaken)
	second := b.take(t, "two")
	require.Equal(t, int64(5), second.Position())
	require.ErrorIs(t, b.writer.Land(t.Context(), rows(5), log.Mark{LSN: "1/0"}), lease.ErrFenced)
	require.ErrorIs(t, b.writer.Land(t.Context(), nil, log.Mark{LSN: "1/0"}), lease.ErrFenced)
	require.ErrorIs(t, b.writer.Beat(t.Context()), lease.ErrFenced)
	_, err = b.writer.Maintain(t.Context(), log.Keep{})
	require.ErrorIs(t, err, lease.ErrFenced)
	b.writer.Release(t.Context()) // It owns nothing that it could release.
	_, err = log.Take(t.Context(), log.Config{DB: b.DB.DB, Stream: "app"})
	require.ErrorIs(t, err, log.ErrTaken)
	require.NoError(t, second.Land(t.Context(), rows(1), log.Mark{}))
	got, upTo := b.read(t, log.Query{Limit: 10})
	require.Len(t, got, 6)
	require.Equal(t, int64(6), upTo)
	second.Release(t.Context())
	_, err = log.Take(t.Context(), log.Config{DB: b.DB.DB, Stream: "app"})
	require.NoError(t, err)
}

// TestLand_Notify: listeners are notified.
func TestLand_Notify(t *testing.T) {
	t.Parallel()
	b := setup(t)
	conn, err := pgx.Connect(t.Context(), b.URL)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	_, err = conn.Exec(t.Context(), "LISTEN "+log.Channel)
	require.NoError(t, err)
	require.NoError(t, b.writer.Land(t.Context(), rows(1), log.Mark{}))
	notification, err := conn.WaitForNotification(t.Context())
	require.NoError(t, err)
	require.Equal(t, "app", notification.Payload)
}

// TestMaintain: partitions are made ahead, and dropped when all consumers have passed them and the retention is over.
func TestMaintain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	// Retention is measured by Postgres's clock, not by the process's.
	maintain := func(later time.Duration) int {
		b.Do(t, fmt.Sprintf("UPDATE capture.log_partition SET filled_at = filled_at - interval '%d seconds'", int(later.Seconds())))
		dropped, err := b.writer.Maintain(t.Context(), log.Keep{Retention: time.Hour, Hold: 24 * time.Hour})
		require.NoError(t, err)
		return dropped
	}
	require.Zero(t, maintain(0))
	require.Equal(t, 1, b.partitions(t))
	require.NoError(t, b.writer.Land(t.Context(), rows(60), log.Mark{}))
	require.Zero(t, maintain(0))
	require.Equal(t, 2, b.partitions(t), "made ahead")
	b.Do(t, "INSERT INTO capture.consumer (name, stream, kind) VALUES ('slow', 'app', 'webhook'); INSERT INTO capture.shard (consumer, shard, position) VALUES ('slow', 0, 150)")
	require.NoError(t, b.writer.Land(t.Context(), rows(250), log.Mark{})) // position 310: several partitions at once
	require.Zero(t, maintain(0))
	require.Zero(t, maintain(59*time.Minute))
	require.Equal(t, 1, maintain(2*time.Minute), "the consumer has passed one of three")
	_, _, err := log.Log{}.Read(t.Context(), b.DB.DB, log.Query{Stream: "app", After: 99, Limit: 10})
	require.ErrorIs(t, err, log.ErrForgotten)
	got, _ := b.read(t, log.Query{After: 100, Limit: 1})
	require.Equal(t, int64(101), got[0].Position)
	b.Do(t, "UPDATE capture.shard SET position = 310")
	require.Equal(t, 2, maintain(0))

	// A view's consumer is waited for without a limit.
	b.Do(t, "INSERT INTO capture.consumer (name, stream, kind) VALUES ('v', 'app', 'view'); INSERT INTO capture.shard (consumer, shard, position) VALUES ('v', 0, 310)")
	require.NoError(t, b.writer.Land(t.Context(), rows(300), log.Mark{}))
	require.Zero(t, maintain(0))
	require.Zero(t, maintain(25*time.Hour))
	b.Do(t, "DELETE FROM capture.consumer WHERE name = 'v'; UPDATE capture.log_partition SET filled_at = now() WHERE filled_at IS NOT NULL")
	require.Zero(t, maintain(23*time.Hour))
	paused := func() (is bool) {
		require.NoError(t, b.QueryRow(t.Context(), "SELECT paused_at IS NOT NULL AND EXISTS (SELECT FROM capture.shard WHERE fence > 0) FROM capture.consumer").Scan(&is))
		return is
	}
	require.False(t, paused())
	require.Positive(t, maintain(2*time.Hour), "the limit is over")
	require.True(t, paused())
	_, _, err = log.Log{}.Read(t.Context(), b.DB.DB, log.Query{Stream: "app", After: 310, Limit: 10})
	require.ErrorIs(t, err, log.ErrForgotten)
}

// TestRead_Plan: Postgres does not keep a plan that it made while the log was empty, and uses the index whatever the statistics say.
func TestRead_Plan(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, "UPDATE capture.stream SET beat_at = NULL")
	w, err := log.Take(t.Context(), log.Config{DB: b.DB.DB, Stream: "app"})
	require.NoError(t, err)
	_, err = w.Maintain(t.Context(), log.Keep{Retention: time.Hour})
	require.NoError(t, err)
	b.Do(t, "ANALYZE capture.log") // of nothing
	conn, err := pgx.Connect(t.Context(), b.URL)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	for range 7 { // Often enough for a generic plan.
		_, _, err = log.Log{}.Read(t.Context(), conn, log.Query{Stream: "app", Limit: 100, Shards: 4})
		require.NoError(t, err)
	}
	require.NoError(t, w.Land(t.Context(), rows(50_000), log.Mark{}))
	explainer := &pgtest.Explainer{DBTX: conn}
	for after := int64(0); after < 50_000; after += 9_999 {
		_, _, err = log.Log{}.Read(t.Context(), explainer, log.Query{Stream: "app", After: after, Limit: 100, Shards: 4})
		require.NoError(t, err)
		require.Contains(t, explainer.Plans[len(explainer.Plans)-1], "Index Scan using")
	}
	var kept int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE $1", "%capture.log %").Scan(&kept))
	require.Zero(t, kept)
}

// TestRead_Shards: every change is in one shard, all changes of a key are in the same shard, and a truncate is in all shards.
func TestRead_Shards(t *testing.T) {
	t.Parallel()
	b := setup(t)
	landed := rows(2500)
	for i := range landed {
		landed[i].Op = []change.Op{change.Insert, change.Update, change.Delete}[i%3]
	}
	landed[1234].Op, landed[1234].Key = change.Truncate, nil
	require.NoError(t, b.writer.Land(t.Context(), landed, log.Mark{}))
	const shards = 3
	shardOf, seen, truncates := map[string]int{}, map[int64]bool{}, 0
	for shard := range shards {
		after := int64(0)
		for {
			changes, upTo := b.read(t, log.Query{After: after, Shard: shard, Shards: shards, Limit: 7})
			if upTo == after {
				break
			}
			for _, c := range changes {
				require.Greater(t, c.Position, after)
				after = c.Position
				if c.Op == change.Truncate {
					truncates++
					continue
				}
				require.False(t, seen[c.Position])
				seen[c.Position] = true
				if other, has := shardOf[string(c.Key)]; has {
					require.Equal(t, other, shard)
				}
				shardOf[string(c.Key)] = shard
			}
			require.GreaterOrEqual(t, upTo, after)
			after = upTo
		}
		require.Equal(t, int64(2500), after)
	}
	require.Len(t, seen, 2499)
	require.Equal(t, shards, truncates)
}
