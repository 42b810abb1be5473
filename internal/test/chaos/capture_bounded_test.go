package chaos_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	boundedRows     = flag.Int("bounded-rows", 20_000, "how many rows TestCaptureBounded inserts in one transaction")
	boundedTriggers = flag.Bool("bounded-triggers", false, "whether TestCaptureBounded captures by triggers instead of from the WAL")
	outageChanges   = flag.Int("outage-changes", 5_000, "how many changes TestCaptureBounded makes while a sink is down for a day, which at 1,000 a second are 86,400,000")
)

// perTransaction is how many rows a transaction changes while the sink is down.
const perTransaction = 1_000

// most is how much memory a worker may use, in bytes.
const most = 256 << 20

// TestCaptureBounded: a transaction of many rows passes through a worker of 256 MiB, while one of the sinks is down. A day later, the slot
// holds back no WAL for it, the log still has all changes, and the sink gets them.
func TestCaptureBounded(t *testing.T) {
	t.Parallel()
	l := newCaptureLane(t, buildDaymill(t))
	ctx := context.WithoutCancel(t.Context())
	x := &captureTrial{
		schedule: captureSchedule{wal: !*boundedTriggers, workers: 1, shards: 1, batch: true}, lane: l, name: "capture_bounded", dir: t.TempDir(), t: t, notes: map[string]int{},
	}
	t.Cleanup(func() { x.close(ctx) })
	require.NoError(t, x.prepare(ctx))
	x.hook.fail(answers500)
	x.environment = append(x.environment, "GOMEMLIMIT=200MiB")
	one := &slot{binary: l.binary, arguments: []string{"worker"}, environment: x.environment}
	ended, err := one.start(ctx)
	require.NoError(t, err)
	require.NoError(t, x.until(ctx, "SELECT state = 'running' FROM capture.stream"))
	begun := time.Now()
	require.NoError(t, x.source.exec(ctx, "INSERT INTO shop.plain (id, v, body) SELECT g, 'many', repeat('x', 100) FROM generate_series(1000, 999 + "+strconv.Itoa(*boundedRows)+") AS g"))
	committed := time.Now()
	x.patience = time.Hour
	require.NoError(t, x.until(ctx, fmt.Sprintf("SELECT count(*) = %d FROM twin.plain", *boundedRows+200)))
	for made := 0; made < *outageChanges; made += perTransaction {
		from := 1000 + made%max(perTransaction, *boundedRows-perTransaction)
		require.NoError(t, x.source.exec(ctx, fmt.Sprintf("UPDATE shop.plain SET v = 'outage %d' WHERE id >= %d AND id < %d", made, from, from+perTransaction)))
	}
	require.NoError(t, x.source.exec(ctx, "INSERT INTO shop.plain (id, v) VALUES (999, 'the last')"))
	require.NoError(t, x.until(ctx, "SELECT count(*) = 1 FROM twin.plain WHERE id = 999"))
	require.NoError(t, x.until(ctx, "SELECT coalesce(max(pg_current_wal_lsn() - restart_lsn), 0) < 64 << 20 FROM pg_replication_slots"))
	resident := peak(t, one.cmd.Process.Pid)
	var size string
	require.NoError(t, x.db.QueryRow(ctx, "SELECT pg_size_pretty(sum(pg_total_relation_size(c.oid))) FROM pg_class AS c WHERE c.relname LIKE 'log\\_%' AND c.relkind = 'r'").Scan(&size))
	t.Logf("%d rows: inserted in %s, in the sink after %s more, the worker had %d MiB at most, the log is %s",
		*boundedRows, committed.Sub(begun).Round(time.Millisecond), time.Since(committed).Round(time.Millisecond), resident>>20, size)
	require.LessOrEqual(t, resident, int64(most))

	_, err = x.db.Exec(ctx, "UPDATE capture.log_partition SET made_at = made_at - interval '1 day', filled_at = filled_at - interval '1 day'")
	require.NoError(t, err)
	x.hook.heal()
	_, err = x.db.Exec(ctx, "UPDATE capture.shard SET retry_at = NULL")
	require.NoError(t, err)
	require.NoError(t, x.until(ctx, "SELECT bool_and(h.position >= s.position) FROM capture.shard AS h CROSS JOIN capture.stream AS s"))
	got := x.hook.received()
	require.Empty(t, got.wrong)
	require.Greater(t, len(got.keys), *boundedRows)
	require.LessOrEqual(t, peak(t, one.cmd.Process.Pid), int64(most))
	require.Empty(t, one.end(ended))
}

// peak returns the peak memory of a process, in bytes.
func peak(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	require.NoError(t, err)
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	require.NotNil(t, found, string(status))
	kilobytes, err := strconv.ParseInt(string(found[1]), 10, 64)
	require.NoError(t, err)
	return kilobytes << 10
}
