package view

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/view/plan"
	"github.com/daymill/daymill/internal/view/signal"
)

const (
	// attempts is the number of failures in a row after which a task fails.
	attempts = 12
	// maxExamples is the maximum number of differing keys that a task stores.
	maxExamples = 100
)

// worker works on a task.
type worker struct {
	*Engine

	task    Task
	version Version
	lease   *lease.Lease
	turn    signal.TaskStop // figures of this turn
	size    *pace.Size
	pacer   *pace.Pacer
	settled map[string]int64 // position by stream, up to which statements in its database see everything
	walks   bool             // see refresh
}

// step is the result of one chunk.
type step struct {
	cursor                             []string
	done, differing, repaired, misfits int64
	copied                             int64 // rows of other databases
	// end says that this was the last chunk of the stage. For the caller of locked, it says that it was the last one of the task.
	end   bool
	stage int // of the next chunk
}

// Work works on a task until it is finished, the turn is over, or ctx is done. A failure is recorded with the
// task, and a later turn tries again. more reports whether there is more to do at once.
func (e *Engine) Work(ctx context.Context, id int64) (more bool, err error) {
	held, err := e.take(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil // The task is finished, another process works on it, or the view is paused.
	}
	if err != nil {
		return false, fmt.Errorf("take task %d: %w", id, err)
	}
	defer held.Release(ctx, func(ctx context.Context, queries *db.Queries) error {
		return queries.ViewTaskRelease(ctx, db.ViewTaskReleaseParams{ID: id, Fence: held.Term.ID})
	})
	more, err = e.work(ctx, id, held)
	if err == nil || ctx.Err() != nil || errors.Is(err, lease.ErrFenced) {
		return more, err
	}
	return false, e.fail(ctx, id, held.Term.ID, err)
}

// unit is a task.
type unit struct{ id int64 }

// Heartbeat checks the fence of a task: see [lease.Unit].
func (u unit) Heartbeat(ctx context.Context, queries *db.Queries, term lease.Term, _ int64) (int64, error) {
	return queries.ViewTaskBeat(ctx, db.ViewTaskBeatParams{ID: u.id, Fence: term.ID})
}

func (e *Engine) take(ctx context.Context, id int64) (*lease.Lease, error) {
	held := &lease.Lease{Unit: unit{id}, Clock: e.clock(), Transact: e.transact}
	err := e.transact(ctx, func(ctx context.Context, queries *db.Queries) (err error) {
		held.Term.ID, err = queries.ViewTaskTake(ctx, db.ViewTaskTakeParams{ID: id, Silence: lease.Silence})
		return err
	})
	return held, err
}

func (e *Engine) transact(ctx context.Context, do func(ctx context.Context, queries *db.Queries) error) error {
	return e.DB.Tx(ctx, func(tx pgx.Tx) error { return do(ctx, db.New(tx)) })
}

// fail records a failure. If another attempt does not help, the task has failed.
func (e *Engine) fail(ctx context.Context, id, fence int64, cause error) error {
	return e.DB.Tx(ctx, func(tx pgx.Tx) error {
		t, err := GetTask(ctx, tx, id)
		queries := db.New(tx)
		code := postgres.Code(cause)
		final := pgerrcode.IsDataException(code) || pgerrcode.IsIntegrityConstraintViolation(code)
		if waits := (*waitError)(nil); errors.As(cause, &waits) {
			t.Failures, final = 0, false
		}
		if err != nil || (final || t.Failures+1 >= attempts) && !t.Stands() {
			_, err = queries.ViewTaskFinish(ctx, db.ViewTaskFinishParams{ID: id, Fence: fence, State: Failed, Error: cause.Error()})
		} else {
			_, err = queries.ViewTaskFail(ctx, db.ViewTaskFailParams{ID: id, Fence: fence, Error: cause.Error()})
		}
		if err != nil {
			return fmt.Errorf("record that task %d failed: %w", id, err)
		}
		return nil
	})
}

func (e *Engine) work(ctx context.Context, id int64, held *lease.Lease) (more bool, err error) {
	t, err := GetTask(ctx, e.DB, id)
	if err != nil {
		return false, err
	}
	if err := e.Follow(ctx, t.View); err != nil {
		return false, err
	}
	versions, err := Versions(ctx, e.DB, t.View)
	if err != nil {
		return false, err
	}
	w := &worker{
		Engine: e, task: t, lease: held, pacer: &pace.Pacer{Clock: e.clock(), Pace: e.Pace}, settled: map[string]int64{},
	}
	for _, v := range versions {
		if v.ID == t.Version || t.Version == 0 && v.State == Serving {
			w.version = v
		}
	}
	if w.version.ID == 0 {
		return false, errors.New("the view has no table: build it with `daymill view build`")
	}
	w.resize()
	w.turn.Task = signal.Task{View: w.version.Plan.Definition.Name, ID: id, Kind: t.Kind}
	began := e.clock().Now()
	ctx = telemetry.Tell(ctx, e.Listeners, signal.TaskStart{Task: w.turn.Task})
	more, err = w.chunks(ctx, began)
	w.turn.Outcome = signal.Complete
	waits := (*waitError)(nil)
	switch {
	case errors.As(err, &waits):
		w.turn.Outcome = signal.Waits
	case err != nil:
		w.turn.Outcome = signal.Failed
	case more:
		w.turn.Outcome = signal.Unfinished
	}
	w.turn.Err, w.turn.Duration, w.turn.Longest = err, e.clock().Now().Sub(began), w.pacer.Longest
	telemetry.Tell(ctx, e.Listeners, w.turn)
	return more, err
}

// chunks works on the task, chunk by chunk, until it is finished or the turn is over.
func (w *worker) chunks(ctx context.Context, began time.Time) (more bool, err error) {
	t := w.task
	if w.version.Plan.Filling && !t.Stands() {
		if fills, err := w.fills(ctx); err != nil {
			return false, err
		} else if !fills {
			return false, &waitError{"the new table of the view is filled"}
		}
	}
	if t.Kind == TaskBuild && t.Cursor == nil {
		if err := w.ready(ctx, w.version); err != nil {
			return false, err
		}
	}
	if t.Waits() {
		if err := w.begun(ctx); err != nil {
			return false, err
		}
	}
	if err := w.drop(ctx); err != nil {
		return false, err
	}
	if t.Kind == TaskRefresh && t.Table == 0 && t.Cursor == nil && len(t.Keys) > 0 {
		if err := w.pull(ctx); err != nil {
			return false, err
		}
	}
	turn := w.Turn
	if turn == 0 {
		turn = defaultTurn
	}
	for {
		end, err := w.next(ctx)
		if errors.Is(err, errRestored) {
			return false, w.restored(ctx)
		}
		if err != nil || end {
			return false, err
		}
		if w.clock().Now().Sub(began) >= turn {
			return true, nil
		}
	}
}

// begun records that the task does not wait any more.
func (w *worker) begun(ctx context.Context) error {
	return w.DB.Tx(ctx, func(tx pgx.Tx) error {
		if err := lease.Fenced(db.New(tx).ViewTaskReady(ctx, db.ViewTaskReadyParams{ID: w.task.ID, Fence: w.lease.Term.ID})); err != nil {
			return fmt.Errorf("begin task %d: %w", w.task.ID, err)
		}
		w.task.Failures, w.task.Error = 0, ""
		return nil
	})
}

// next does one chunk, and pauses after it. After the last one, it ends the task.
func (w *worker) next(ctx context.Context) (end bool, err error) {
	if err := w.settle(ctx, mostUnlanded); err != nil {
		return false, err
	}
	size := w.size.Value()
	var s step
	var took time.Duration
	do := w.build
	switch {
	case w.task.Stage < w.copies():
		do = w.copy
	case w.task.Kind == TaskRefresh:
		do = w.refresh
	case w.task.Kind == TaskVerify && w.task.Stage > 0:
		do = w.verifyMirror
	case w.task.Kind == TaskVerify:
		do = w.verify
	case w.task.Kind == TaskPoll:
		do = w.poll
	case w.task.Kind == TaskCompare:
		do = w.compare
	}
	s, took, err = do(ctx, int64(size))
	if postgres.IsTimeout(err) && w.size.TimedOut(size) {
		return false, w.pacer.Pause(ctx, w.size.Limit())
	}
	if err != nil {
		return false, err
	}
	w.size.Took(size, took)
	w.task.Cursor, w.task.Done = s.cursor, w.task.Done+s.done
	if s.stage != w.task.Stage {
		if w.task.Stage < w.copies() {
			if err := w.analyze(ctx, plan.MirrorSchema, w.version.Plan.Sources[w.version.Plan.Mirrored()[w.task.Stage]].Mirror); err != nil {
				return false, err
			}
		}
		w.task.Stage = s.stage
		w.resize()
	}
	w.turn.Chunks++
	w.turn.Keys, w.turn.Differing, w.turn.Repaired = w.turn.Keys+s.done, w.turn.Differing+s.differing, w.turn.Repaired+s.repaired
	if s.end {
		return true, w.end(ctx)
	}
	return false, w.pacer.Pause(ctx, took)
}

// locked runs do in a transaction that locks the view, and moves the task's cursor in the same transaction.
// It returns how long do took.
func (w *worker) locked(ctx context.Context, do func(tx pgx.Tx) (step, error)) (s step, took time.Duration, err error) {
	err = w.DB.Tx(ctx, func(tx pgx.Tx) error {
		if err := lock(ctx, tx, w.task.View); err != nil {
			return err
		}
		if err := limit(ctx, tx, w.size.Limit()); err != nil {
			return err
		}
		took, err = w.pacer.Do(nil, func() error {
			s, err = do(tx)
			return err
		})
		if err == nil {
			err = w.version.same(ctx, tx)
		}
		if err != nil {
			return err
		}
		if s.stage = w.task.Stage; s.end && s.stage < w.stages()-1 {
			s.stage, s.cursor, s.end = s.stage+1, nil, false
		}
		return w.move(ctx, tx, s)
	})
	return s, took, err
}

// stages returns how many stages the task has. A build first copies the tables that have mirrors. A verification also compares these mirrors.
func (w *worker) stages() int {
	if w.task.Kind == TaskVerify {
		return 1 + 2*len(w.version.Plan.Mirrored())
	}
	return w.copies() + 1
}

// resize begins to find out the size of chunks: those of another stage cost something else.
func (w *worker) resize() {
	most := float64(mostChunk)
	if w.task.Stage < w.copies() || w.task.Kind == TaskVerify && w.task.Stage > 0 {
		most = mostCopied
	}
	w.size = pace.NewSize(min(w.chunk(), most), 1, most)
}

// lookupCost is what a page of an index lookup costs the planner, compared with a page of a sequential scan. Postgres's default, 4, is that of
// rotating disks. With it, every chunk of some thousand rows read all of a joined table with a million.
const lookupCost = "1.1"

// limit makes the settings of a chunk.
func limit(ctx context.Context, tx pgx.Tx, limit time.Duration) error {
	return postgres.SetLocal(ctx, tx, postgres.Local{
		"statement_timeout": fmt.Sprintf("%dms", limit.Milliseconds()), "random_page_cost": lookupCost,
	})
}

func (w *worker) move(ctx context.Context, tx pgx.Tx, s step) error {
	examples, err := json.Marshal(w.task.Examples)
	if err != nil {
		return fmt.Errorf("write a task: %w", err)
	}
	if w.task.Examples == nil {
		examples = []byte("[]")
	}
	err = lease.Fenced(db.New(tx).ViewTaskMove(ctx, db.ViewTaskMoveParams{
		ID: w.task.ID, Fence: w.lease.Term.ID, Cursor: s.cursor, Done: s.done, Differing: s.differing, Repaired: s.repaired, Misfits: s.misfits, Examples: examples,
		Stage: int32(s.stage), Copied: s.copied, Watermarks: w.task.watermarks, //nolint:gosec // A small number.
	}))
	if err != nil {
		return fmt.Errorf("move task %d: %w", w.task.ID, err)
	}
	return nil
}

// end ends a task whose last chunk is done. If a turn has to wait here, the next one repeats the last chunk.
func (w *worker) end(ctx context.Context) error {
	if err := w.settle(ctx, 0); err != nil {
		return err
	}
	if w.task.Kind == TaskBuild && w.version.Plan.Filling {
		if err := w.index(ctx); err != nil {
			return err
		}
	}
	if w.task.Kind == TaskBuild && w.version.State == Building {
		if err := w.analyze(ctx, plan.Schema, w.version.Table); err != nil {
			return err
		}
		if err := w.catchUp(ctx); err != nil {
			return err
		}
	}
	return w.finish(ctx)
}

// finish ends a task that is done. A table that was built replaces the one that serves.
func (w *worker) finish(ctx context.Context) error {
	if w.task.Stands() {
		return w.again(ctx)
	}
	err := w.DB.Tx(ctx, func(tx pgx.Tx) error {
		if w.task.Kind == TaskBuild {
			if err := serve(ctx, tx, w.version); err != nil {
				return err
			}
		}
		err := lease.Fenced(db.New(tx).ViewTaskFinish(ctx, db.ViewTaskFinishParams{ID: w.task.ID, Fence: w.lease.Term.ID, State: Done}))
		if err != nil {
			return fmt.Errorf("finish task %d: %w", w.task.ID, err)
		}
		return nil
	})
	if err == nil && w.task.Kind == TaskBuild && w.version.State == Building {
		telemetry.Tell(ctx, w.Listeners, signal.Swap{View: w.turn.View})
	}
	return err
}

// waits begins the error of a task that has to wait.
const waits = "it waits until "

// waitError is the error of a task that has to wait. The text says until when.
type waitError struct{ text string }

func (w *waitError) Error() string { return waits + w.text }

// ready makes sure that a build does not begin before the changes of its tables are captured. Otherwise
// changes in between would be missing.
func (e *Engine) ready(ctx context.Context, v Version) error {
	for _, source := range v.Plan.Sources {
		if source.Scheduled {
			continue
		}
		captured, err := e.captured(ctx, source) // Another table may have had the name until a moment ago.
		if err != nil {
			return err
		}
		if !captured {
			return &waitError{fmt.Sprintf("changes of %s.%s of database %s are captured", source.Schema, source.Name, source.Stream)}
		}
	}
	return nil
}
