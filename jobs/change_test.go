package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/jobs"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var errBusy = errors.New("the service is busy")

type testBundle struct {
	*pgtest.DB

	writer *log.Writer
	client *river.Client[pgx.Tx]

	mu     sync.Mutex
	errors []string // that Run survived
}

func setup(t *testing.T) *testBundle {
	t.Helper()
	b := &testBundle{DB: pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})}
	var err error
	b.writer, err = log.Take(t.Context(), log.Config{DB: b.DB.DB, Stream: "app", Owner: "test"})
	require.NoError(t, err)
	_, err = b.Exec(t.Context(), `CREATE TABLE public.copied (n bigint GENERATED ALWAYS AS IDENTITY, position bigint NOT NULL, key text NOT NULL)`)
	require.NoError(t, err)
	b.client, err = river.NewClient(riverpgxv5.New(b.Application(t)), &river.Config{})
	require.NoError(t, err)
	return b
}

// insert lands an insert of each row.
func (b *testBundle) insert(t *testing.T, ids ...int) {
	t.Helper()
	for _, id := range ids {
		require.NoError(t, b.writer.Land(t.Context(), []jobs.Change{sinktest.Insert(0, id)}, log.Mark{LSN: "0/1"}))
	}
}

// start runs a function that copies positions, after judging each change, until the test ends.
func (b *testBundle) start(t *testing.T, judge func(c jobs.Change) error) {
	t.Helper()
	f := jobs.OnChange("copy", []string{"public.*", "!public.secret"}, func(ctx context.Context, tx pgx.Tx, changes []jobs.Change) error {
		for _, c := range changes {
			if _, err := tx.Exec(ctx, "INSERT INTO public.copied (position, key) VALUES ($1, $2)", c.Position, string(c.Key)); err != nil {
				return err
			}
			if err := judge(c); err != nil {
				return err
			}
		}
		return nil
	})
	f.Batch = 8
	f.Failed = func(_ context.Context, err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.errors = append(b.errors, err.Error())
	}
	b.run(t, f)
}

func (b *testBundle) run(t *testing.T, f *jobs.ChangeFunc[pgx.Tx]) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx, b.client) }()
	t.Cleanup(func() { cancel(); require.ErrorIs(t, <-ended, context.Canceled) })
	b.wait(t, "EXISTS (SELECT FROM capture.consumer WHERE name = 'copy')")
}

func (b *testBundle) wait(t *testing.T, condition string) {
	t.Helper()
	require.Eventually(t, func() bool {
		var is bool
		require.NoError(t, b.QueryRow(t.Context(), "SELECT "+condition).Scan(&is))
		return is
	}, time.Minute, 10*time.Millisecond, condition)
}

// copied returns the positions that the function copied, in order.
func (b *testBundle) copied(t *testing.T) (positions []int64) {
	t.Helper()
	require.NoError(t, b.QueryRow(t.Context(), "SELECT coalesce(array_agg(position ORDER BY n), '{}') FROM public.copied").Scan(&positions))
	return positions
}

// letters returns the positions of the dead letters; those of waiting letters are negative.
func (b *testBundle) letters(t *testing.T) []int64 {
	t.Helper()
	letters, err := consumer.Letters(t.Context(), b.DB.DB, "copy", 0)
	require.NoError(t, err)
	positions := []int64{}
	for _, l := range letters {
		if l.State == consumer.Waiting {
			l.Position = -l.Position
		}
		positions = append(positions, l.Position)
	}
	return positions
}

func always(jobs.Change) error { return nil }

func TestOnChange(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.insert(t, 1, 2)
	b.start(t, always)
	secret := sinktest.Insert(0, 9)
	secret.Table = "secret"
	require.NoError(t, b.writer.Land(t.Context(), []jobs.Change{sinktest.Insert(0, 3), secret, sinktest.Update(0, 3), sinktest.Delete(0, 3), secret, sinktest.Sweep(0, 1)}, log.Mark{}))
	b.wait(t, "position = 8 FROM capture.shard")
	require.Equal(t, []int64{3, 5, 6}, b.copied(t), "from the end of the log on, without what is left out, and without sweeps")
	all, err := consumer.List(t.Context(), b.DB.DB)
	require.NoError(t, err)
	require.Equal(t, []any{"copy", "function", int64(3)}, []any{all[0].Name, all[0].Kind, all[0].Delivered})
}

// TestOnChange_Sweeps: a function that wants sweeps receives those of its tables.
func TestOnChange_Sweeps(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := make(chan jobs.Change, 10)
	f := jobs.OnChange("copy", []string{"public.orders"}, func(_ context.Context, _ pgx.Tx, changes []jobs.Change) error {
		for _, c := range changes {
			got <- c
		}
		return nil
	})
	f.Sweeps = true
	b.run(t, f)
	other := sinktest.Sweep(0, 1)
	other.Table = "notes"
	require.NoError(t, b.writer.Land(t.Context(), []jobs.Change{sinktest.Insert(0, 1), other, sinktest.Sweep(0, 1)}, log.Mark{}))
	require.Equal(t, jobs.ChangeInsert, (<-got).Op)
	c := <-got
	require.Equal(t, jobs.ChangeSweep, c.Op)
	require.JSONEq(t, `{"position": 1}`, string(c.Old))
}

// TestOnChange_Document: a function receives the same document as every sink.
func TestOnChange_Document(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := make(chan []jobs.Change, 1)
	b.run(t, jobs.OnChange("copy", nil, func(_ context.Context, _ pgx.Tx, changes []jobs.Change) error {
		got <- changes
		return nil
	}))
	want := []jobs.Change{sinktest.Insert(0, 1), sinktest.Update(0, 1), sinktest.Delete(0, 1)}
	want[1].Unchanged, want[1].KeyChanged, want[1].Snapshot = []string{"body"}, true, true
	require.NoError(t, b.writer.Land(t.Context(), want, log.Mark{}))
	for _, c := range <-got {
		wanted, err := sink.Document(want[c.Position-1])
		require.NoError(t, err)
		document, err := sink.Document(c)
		require.NoError(t, err)
		require.Equal(t, string(wanted), string(document))
	}
}

// TestOnChange_Paused: a paused function receives no changes, and all of them afterwards.
func TestOnChange_Paused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.Exec(t.Context(), "SELECT capture.open_function('copy', 'app', '[]', 1)")
	require.NoError(t, err)
	who := audit.Who{Via: audit.ViaCLI}
	require.NoError(t, b.Tx(t.Context(), func(tx pgx.Tx) error { return consumer.Pause(t.Context(), tx, "copy", "", who) }))
	b.insert(t, 1)
	var none bool
	require.NoError(t, b.QueryRow(t.Context(), "SELECT capture.take_changes('copy', 10) IS NULL").Scan(&none))
	require.True(t, none)
	b.start(t, always)
	b.start(t, always) // A second process registers itself as well.
	require.Empty(t, b.copied(t))
	require.NoError(t, b.Tx(t.Context(), func(tx pgx.Tx) error { return consumer.Resume(t.Context(), tx, "copy", who) }))
	b.wait(t, "position = 1 FROM capture.shard")
	require.Equal(t, []int64{1}, b.copied(t))
}

// TestOnChange_Permanent: a change that the function refuses permanently becomes a dead letter, later changes of its row wait behind it,
// and a replay delivers them in order.
func TestOnChange_Permanent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var mu sync.Mutex
	refusing := true
	b.start(t, func(c jobs.Change) error {
		mu.Lock()
		defer mu.Unlock()
		if refusing && c.Position == 3 {
			return fmt.Errorf("order: %w", jobs.Permanent(errors.New("there is no such customer\x00")))
		}
		return nil
	})
	b.insert(t, 1, 2, 3, 4, 3, 5, 3)
	b.wait(t, "position = 7 FROM capture.shard")
	require.Equal(t, []int64{1, 2, 4, 6}, b.copied(t))
	b.insert(t, 3)
	b.wait(t, "position = 8 FROM capture.shard")
	require.Equal(t, []int64{1, 2, 4, 6}, b.copied(t))
	require.Equal(t, []int64{3, -5, -7, -8}, b.letters(t))
	letter, err := consumer.GetLetter(t.Context(), b.DB.DB, "copy", 3)
	require.NoError(t, err)
	require.Equal(t, "order: there is no such customer", letter.Reason)

	replay := func() {
		require.NoError(t, b.Tx(t.Context(), func(tx pgx.Tx) error {
			_, err := consumer.Replay(t.Context(), tx, "copy", nil, audit.Who{Via: audit.ViaCLI})
			return err
		}))
		b.wait(t, "NOT EXISTS (SELECT FROM capture.letter WHERE replay_at IS NOT NULL)")
	}
	replay()
	require.Equal(t, []int64{3, -5, -7, -8}, b.letters(t), "it is refused again")
	mu.Lock()
	refusing = false
	mu.Unlock()
	replay()
	require.Empty(t, b.letters(t))
	require.Equal(t, []int64{1, 2, 4, 6, 3, 5, 7, 8}, b.copied(t))
	b.insert(t, 3)
	b.wait(t, "position = 9 FROM capture.shard")
	require.Equal(t, []int64{1, 2, 4, 6, 3, 5, 7, 8, 9}, b.copied(t))
}

// TestOnChange_ReplayMeanwhile: a replay that is requested during a call of the function also delivers the changes that this call's batch adds to
// the key.
func TestOnChange_ReplayMeanwhile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var refusing, replaying atomic.Bool
	refusing.Store(true)
	replayed := make(chan error, 1)
	b.start(t, func(c jobs.Change) error {
		switch {
		case c.Position == 1 && refusing.Load():
			return jobs.Permanent(errors.New("no"))
		case c.Position == 3 && replaying.CompareAndSwap(false, true):
			go func() {
				replayed <- b.Tx(t.Context(), func(tx pgx.Tx) error {
					_, err := consumer.Replay(t.Context(), tx, "copy", nil, audit.Who{Via: audit.ViaCLI})
					return err
				})
			}()
			// The request waits for this call, or is already through.
			b.wait(t, "EXISTS (SELECT FROM pg_locks WHERE NOT granted) OR EXISTS (SELECT FROM capture.letter WHERE replay_at IS NOT NULL)")
		}
		return nil
	})
	b.insert(t, 3)
	b.wait(t, "position = 1 FROM capture.shard")
	require.Equal(t, []int64{1}, b.letters(t))
	refusing.Store(false)
	require.NoError(t, b.writer.Land(t.Context(), []jobs.Change{sinktest.Insert(0, 3), sinktest.Insert(0, 9)}, log.Mark{}))
	b.wait(t, "count(*) = 3 FROM public.copied")
	require.NoError(t, <-replayed)
	require.Equal(t, []int64{3, 1, 2}, b.copied(t))
	b.wait(t, "NOT EXISTS (SELECT FROM capture.letter)")
}

// TestOnChange_Fails: after an error, nothing of the batch has an effect, including its refusals. The whole batch is delivered again, and the
// shard has the error.
func TestOnChange_Fails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.Exec(t.Context(), "CREATE TABLE public.down ()")
	require.NoError(t, err)
	b.insert(t, 0)
	b.start(t, func(c jobs.Change) error {
		var down bool
		if err := b.QueryRow(t.Context(), "SELECT to_regclass('public.down') IS NOT NULL").Scan(&down); err != nil {
			return err
		}
		switch {
		case c.Position == 3:
			return jobs.Permanent(errors.New("no"))
		case down && c.Position == 6:
			return errBusy
		case down && c.Position == 7:
			panic("at the disco")
		}
		return nil
	})
	require.NoError(t, b.writer.Land(t.Context(), []jobs.Change{
		sinktest.Insert(0, 1), sinktest.Insert(0, 2), sinktest.Insert(0, 3), sinktest.Insert(0, 4), sinktest.Insert(0, 5), sinktest.Insert(0, 6),
	}, log.Mark{}))
	b.wait(t, "failures > 0 FROM capture.shard")
	require.Empty(t, b.copied(t))
	require.Empty(t, b.letters(t))
	shards, err := consumer.Shards(t.Context(), b.DB.DB, "copy")
	require.NoError(t, err)
	require.Contains(t, shards[0].Error, "the service is busy")
	require.Zero(t, shards[0].Position-1)

	due := func() { // The test does not wait for the backoff.
		_, err := b.Exec(t.Context(), "UPDATE capture.shard SET retry_at = now() WHERE retry_at IS NOT NULL")
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { due(); return slices.Equal(b.copied(t), []int64{2, 4, 5}) }, time.Minute, 10*time.Millisecond)
	_, err = b.Exec(t.Context(), "DROP TABLE public.down")
	require.NoError(t, err)
	due()
	b.wait(t, "position = 7 FROM capture.shard")
	require.Equal(t, []int64{2, 4, 5, 6, 7}, b.copied(t))
	require.Equal(t, []int64{3}, b.letters(t))
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Contains(t, b.errors, "function copy: the service is busy")
}

// TestOnChange_Suspect: a change that failed a dozen times becomes a dead letter if another one works, but not if none does.
func TestOnChange_Suspect(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var mu sync.Mutex
	bad := map[int64]bool{1: true, 2: true}
	tries := 0
	b.start(t, func(c jobs.Change) error {
		mu.Lock()
		defer mu.Unlock()
		if bad[c.Position] {
			tries++
			panic("at the disco")
		}
		return nil
	})
	b.insert(t, 1, 2, 3)
	dozen := "UPDATE capture.shard SET failures = 12, retry_at = NULL"
	b.wait(t, "failures > 0 FROM capture.shard")
	_, err := b.Exec(t.Context(), dozen)
	require.NoError(t, err)
	b.wait(t, "failures = 13 FROM capture.shard")
	require.Empty(t, b.letters(t), "the witness fails too")
	mu.Lock()
	delete(bad, 2)
	mu.Unlock()
	_, err = b.Exec(t.Context(), dozen)
	require.NoError(t, err)
	b.wait(t, "position = 3 FROM capture.shard")
	require.Equal(t, []int64{1}, b.letters(t))
	require.Equal(t, []int64{2, 3}, b.copied(t), "the witness's effect is undone, until its turn")
	letter, err := consumer.GetLetter(t.Context(), b.DB.DB, "copy", 1)
	require.NoError(t, err)
	require.Equal(t, "the function fails on this change and accepts others: the function panicked: at the disco", letter.Reason)
}

// TestOnChange_Swallowed: an error of a statement that the function ignores is an error of the function.
func TestOnChange_Swallowed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	f := jobs.OnChange("copy", nil, func(ctx context.Context, tx pgx.Tx, _ []jobs.Change) error {
		_, _ = tx.Exec(ctx, "SELECT 1 / 0")
		return nil
	})
	b.run(t, f)
	b.insert(t, 1)
	b.wait(t, "failures > 0 AND position = 0 FROM capture.shard")
}

func TestOnChange_Refused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.Tx(t.Context(), func(tx pgx.Tx) error {
		return consumer.Create(t.Context(), tx, consumer.Consumer{Name: "hook", Stream: "app", Kind: "webhook"}, 0, audit.Who{Via: audit.ViaCLI})
	}))
	nothing := func(context.Context, pgx.Tx, []jobs.Change) error { return nil }
	require.ErrorContains(t, jobs.OnChange("hook", nil, nothing).Run(t.Context(), b.client), "there is another consumer hook: of kind webhook")
	require.ErrorContains(t, jobs.OnChange("f", []string{"a.b.c"}, nothing).Run(t.Context(), b.client), `the pattern of tables "a.b.c" cannot be read`)
	require.ErrorContains(t, jobs.OnChange("F", nil, nothing).Run(t.Context(), b.client), "consumer_name_check")
}

// TestOnChange_Program: two processes of an application, one of which is killed again and again, copy each change once, and
// the changes of a row in order.
func TestOnChange_Program(t *testing.T) {
	t.Parallel()
	b := setup(t)
	program := filepath.Join(t.TempDir(), "app")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./testdata/app").CombinedOutput()
	require.NoError(t, err, string(output))
	start := func() *exec.Cmd {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program)
		cmd.Env = append(os.Environ(), "DATABASE_URL="+b.URL)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd
	}
	start()
	b.wait(t, "EXISTS (SELECT FROM capture.consumer WHERE name = 'copy')")
	killed := start()
	const rounds, each = 12, 100
	for round := range rounds {
		for i := range each {
			b.insert(t, i%7)
			if i == each/2 {
				b.wait(t, fmt.Sprintf("position > %d FROM capture.shard", round*each))
				require.NoError(t, killed.Process.Kill())
				_ = killed.Wait()
				killed = start()
			}
		}
	}
	b.wait(t, fmt.Sprintf("position = %d FROM capture.shard", rounds*each))
	positions := b.copied(t)
	require.Len(t, positions, rounds*each)
	require.True(t, slices.IsSorted(positions))
}
