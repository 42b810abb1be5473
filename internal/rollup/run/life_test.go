package run_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/presence"
	"github.com/daymill/daymill/internal/rollup/replay"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestRunLost: a run that follows one whose worker was killed uses less memory, in case memory was the cause.
func TestRunLost(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.runner.Options.MaxEntities = 20_000
	b.db.InsertDate(t, day, 20_000, 12_000)
	require.Equal(t, 1, b.rollup(t, day).Passes)
	_, err := b.db.Exec(t.Context(), `UPDATE analytics.rollup_runs SET state = 'running', finished_at = NULL`)
	require.NoError(t, err)
	_, err = b.db.Exec(t.Context(), `UPDATE analytics.rollup_dates SET state = 'running', heartbeat_at = now() - interval '1 hour'`)
	require.NoError(t, err)
	require.GreaterOrEqual(t, b.rollup(t, day).Passes, 2)
	var reason string
	require.NoError(t, b.db.QueryRow(t.Context(), "SELECT error FROM analytics.rollup_runs WHERE state = 'lost'").Scan(&reason))
	require.Contains(t, reason, "5000 entities")
	require.Equal(t, 1, b.rollup(t, day).Passes, "the last run was not lost")
	pgtest.RequireExact(t, b.db)
}

// A run belongs to the state of the database in which it began: its server, its timeline, and its committed data.
func TestRunLife(t *testing.T) {
	t.Parallel()

	type lifeBundle struct {
		*testBundle

		server *pgserver.Server
		copied string // the older copy of the data directory
	}
	setup := func(t *testing.T) *lifeBundle {
		t.Helper()
		server := pgtest.Server(t, nil)
		conn := pgtest.On(t, server, installations[0])
		conn.RawEvents(t)
		conn.InsertDate(t, day, 1_000, 300)
		b := &testBundle{db: conn, runner: newRunner(conn, "a")}
		b.runner.Options.Pace, b.runner.Options.SliceCounts = pace.Fixed(1), 50
		return &lifeBundle{testBundle: b, server: server, copied: filepath.Join(t.TempDir(), "copy")}
	}
	command := func(t *testing.T, name string, arguments ...string) {
		t.Helper()
		output, err := exec.CommandContext(context.WithoutCancel(t.Context()), name, arguments...).CombinedOutput()
		require.NoError(t, err, string(output))
	}
	// offline does something to the data directory while the server is stopped.
	offline := func(t *testing.T, b *lifeBundle, do func()) {
		t.Helper()
		require.NoError(t, b.server.Stop(t.Context(), pgserver.Fast))
		do()
		require.NoError(t, b.server.Start(t.Context()))
		b.db.Reset() // The test's own connections.
	}
	backUp := func(t *testing.T, b *lifeBundle) {
		t.Helper()
		offline(t, b, func() { command(t, "cp", "-a", b.server.DataDir(), b.copied) })
	}
	restore := func(t *testing.T, b *lifeBundle) {
		t.Helper()
		offline(t, b, func() {
			command(t, "rm", "-rf", b.server.DataDir())
			command(t, "cp", "-a", b.copied, b.server.DataDir())
		})
	}
	// pooled returns connections that outlive the server's: a pooler hides that the server has changed.
	pooled := func(t *testing.T, b *lifeBundle) *postgres.DB {
		t.Helper()
		opened, err := postgres.Open(t.Context(), postgres.Config{URL: pgtest.PgBouncer(t, b.db)})
		require.NoError(t, err)
		t.Cleanup(opened.Close)
		return opened
	}

	t.Run("AbandonedTimeline", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		first, err := b.server.Follower(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, first.Close()) })
		second, err := b.server.Follower(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, second.Close()) })
		require.NoError(t, first.Stop(t.Context(), pgserver.Fast))
		b.db.InsertDate(t, day, 20_000, 300) // Only the second server has these.
		source, err := postgres.Open(t.Context(), postgres.Config{URL: second.URL(b.db.Name)})
		require.NoError(t, err)
		t.Cleanup(source.Close)
		require.Eventually(t, func() bool {
			var events int
			require.NoError(t, source.QueryRow(t.Context(), "SELECT count(*) FROM public.raw_events").Scan(&events))
			return events == 21_000
		}, time.Minute, 10*time.Millisecond)
		opener := func(server *pgserver.Server) replay.Open {
			return func(ctx context.Context) (*postgres.DB, error) {
				return postgres.Open(ctx, postgres.Config{URL: server.URL(b.db.Name)})
			}
		}
		// The first follower is down: the second one is read.
		followers := replay.NewFollowers(b.db.DB, b.runner.Clock, []replay.Open{opener(first), opener(second)})
		defer followers.Close()
		b.runner.Source = followers
		b.request(t, day)
		_, err = b.runner.Run(t.Context(), run.Order{Date: day})
		require.NoError(t, err)
		require.EqualValues(t, 21_000, pgtest.RequireExact(t, b.db).Events)
		require.NoError(t, b.server.Stop(t.Context(), pgserver.Immediate))

		require.NoError(t, first.Start(t.Context()))
		primary, err := postgres.Open(t.Context(), postgres.Config{URL: first.URL(b.db.Name)})
		require.NoError(t, err)
		t.Cleanup(primary.Close)
		require.NoError(t, first.Promote(t.Context()))
		_, err = primary.Exec(t.Context(), "SELECT analytics.enqueue_rollup($1)", day)
		require.NoError(t, err)
		b.runner.Primary, b.runner.Source = primary, source
		_, err = b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, replay.ErrNotFollower)
		require.ErrorContains(t, err, "abandoned")
		var state string
		require.NoError(t, primary.QueryRow(t.Context(), "SELECT state FROM analytics.rollup_dates").Scan(&state))
		require.Equal(t, "failed", state)

		// The same if there are several: the first was promoted, and the second follows what was abandoned.
		several := replay.NewFollowers(primary, b.runner.Clock, []replay.Open{opener(first), opener(second)})
		defer several.Close()
		b.runner.Source = several
		_, err = b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, replay.ErrPrimary)
		require.ErrorContains(t, err, "no follower of --source-url can be read")
		seen, err := several.Look(t.Context(), func(int, error) {})
		require.NoError(t, err)
		require.Equal(t, "it can read events from no follower of --source-url: "+
			"follower 1 is not in recovery: it was promoted, or is another primary, follower 2 follows a timeline that was abandoned in a failover",
			presence.Unread(seen))
	})

	// After a restart, the follower's address may lead to another server: what was read there is read again.
	t.Run("FollowerRestarted", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		follower, err := b.server.Follower(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, follower.Close()) })
		reader, err := postgres.Open(t.Context(), postgres.Config{URL: follower.URL(b.db.Name)})
		require.NoError(t, err)
		t.Cleanup(reader.Close)
		b.runner.Source = reader
		b.request(t, day)
		pauses := 0
		b.runner.Clock = &testClock{slept: func(context.Context, time.Duration) { pauses++ }}
		undisturbed, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.NoError(t, err)
		b.db.InsertDate(t, day, 10, 5)
		b.request(t, day)
		restartAt := pauses + undisturbed.Slices - 2
		b.runner.Clock = &testClock{slept: func(context.Context, time.Duration) {
			if pauses++; pauses == restartAt {
				require.NoError(t, follower.Stop(t.Context(), pgserver.Fast))
				require.NoError(t, follower.Start(t.Context()))
			}
		}}
		figures, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.NoError(t, err)
		require.Greater(t, figures.Slices, undisturbed.Slices+undisturbed.Slices/2)
		require.Equal(t, 1, figures.Passes)
		require.EqualValues(t, 1_010, pgtest.RequireExact(t, b.db).Events)

		// The follower is promoted while a run reads from it: what it accepts from then on is not on the primary.
		b.request(t, day)
		b.runner.Clock = &testClock{slept: func(context.Context, time.Duration) {}}
		promoted := false
		_, err = b.runner.Run(t.Context(), run.Order{Date: day, Progress: func(report run.Report) {
			if report.Slices > 1 && !promoted {
				promoted = true
				require.NoError(t, follower.Promote(t.Context()))
			}
		}})
		require.ErrorIs(t, err, replay.ErrPrimary)
		require.True(t, promoted)
	})

	// The copy is older than the run: another run gets its number.
	t.Run("OlderCopy", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		backUp(t, b)
		b.db.InsertDate(t, day, 500, 300)
		b.request(t, day)
		b.runner.Primary = pooled(t, b)
		b.runner.Source = b.runner.Primary

		other := newRunner(b.db, "b")
		other.Options = b.runner.Options
		began, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		otherPauses := 0
		other.Clock = &testClock{slept: func(context.Context, time.Duration) {
			if otherPauses++; otherPauses == 1 {
				close(began)
				<-goOn
			}
		}}
		pauses := 0
		b.runner.Clock = &testClock{slept: func(context.Context, time.Duration) {
			if pauses++; pauses != 5 {
				return
			}
			restore(t, b)
			b.request(t, day)
			go func() {
				_, err := other.Run(context.WithoutCancel(t.Context()), run.Order{Date: day})
				ended <- err
			}()
			select {
			case <-began:
			case err := <-ended:
				ended <- err
			}
		}}
		figures, err := b.runner.Run(t.Context(), run.Order{Date: day})
		close(goOn)
		require.GreaterOrEqual(t, pauses, 5)
		require.NoError(t, <-ended)
		require.ErrorIs(t, err, lease.ErrFenced)
		require.EqualValues(t, 1, figures.RunID)
		var last int64
		require.NoError(t, b.db.QueryRow(t.Context(), "SELECT run_id FROM analytics.rollup_dates").Scan(&last))
		require.EqualValues(t, 1, last, "the number has come again")
		require.EqualValues(t, 1_000, pgtest.RequireExact(t, b.db).Events)
	})

	// The copy is from the middle of this run, which has given signs of life since.
	t.Run("OlderCopyOfIt", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.request(t, day)
		b.runner.Primary = pooled(t, b)
		b.runner.Source = b.runner.Primary
		clock := &testClock{}
		pauses := 0
		clock.slept = func(context.Context, time.Duration) {
			switch pauses++; pauses {
			case 2:
				backUp(t, b)
				b.db.InsertDate(t, day, 500, 300)
				clock.ahead += 2 * time.Second
			case 5:
				restore(t, b)
			}
		}
		b.runner.Clock = clock
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, lease.ErrFenced)
		require.NotEqual(t, "complete", b.state(t, day))
	})

	// The copy has every sign of life that the run has given, and lacks events that it has read since the last of them.
	for name, where := range map[string]string{"OlderCopyWhilePublishing": run.PhasePublish, "OlderCopyWhileScanning": run.PhaseScan} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.request(t, day)
			b.runner.Primary = pooled(t, b)
			b.runner.Source = b.runner.Primary
			phase, pauses, restored := "", 0, false
			clock := &testClock{}
			clock.slept = func(context.Context, time.Duration) {
				clock.ahead = -time.Hour // No sign of life is due.
				switch pauses++; {
				case pauses == 2:
					backUp(t, b)
					b.db.InsertDate(t, day, 500, 300)
				case pauses >= 5 && phase == where && !restored:
					restored = true
					restore(t, b)
				}
			}
			b.runner.Clock = clock
			_, err := b.runner.Run(t.Context(), run.Order{Date: day, Progress: func(figures run.Report) { phase = figures.Phase }})
			require.True(t, restored)
			if where == run.PhasePublish {
				require.ErrorIs(t, err, lease.ErrFenced)
				require.NotEqual(t, "complete", b.state(t, day))
				return
			}
			require.NoError(t, err, "what was read is read again")
			require.Equal(t, "complete", b.state(t, day))
			require.EqualValues(t, 1_000, pgtest.RequireExact(t, b.db).Events)
		})
	}

	// Another server takes over in the middle of a run. It has every row that the run has written.
	t.Run("Promoted", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.request(t, day)
		pauses := 0
		b.runner.Clock = &testClock{slept: func(context.Context, time.Duration) {
			if pauses++; pauses != 3 {
				return
			}
			offline(t, b, func() { command(t, "touch", filepath.Join(b.server.DataDir(), "standby.signal")) })
			require.NoError(t, b.server.Promote(t.Context()))
		}}
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, lease.ErrFenced)
		require.NotEqual(t, "complete", b.state(t, day))
	})
}
