package jobs

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"

	"github.com/daymill/daymill/internal/capture/change"
)

const (
	// changeIdle is how long Run waits if there are no changes.
	changeIdle = 100 * time.Millisecond
	// longestWait is the longest pause after an error.
	longestWait = time.Minute
	// suspectAfter is how often a change must have failed before it is compared with another one.
	suspectAfter = 12
	// maxReason is how much of an error a dead letter keeps, in bytes.
	maxReason = 4 << 10
)

// Run calls the function with changes until ctx is done, and returns ctx's cause. It returns an error if it cannot begin, because
// Daymill is not installed or another consumer has the name. It uses one connection of the client's pool at a time. You may call
// it in any number of processes and goroutines; each shard is worked on by one of them at a time.
func (f *ChangeFunc[TTx]) Run(ctx context.Context, client *river.Client[TTx]) error {
	r := &changeRun[TTx]{ChangeFunc: f, driver: client.Driver()}
	var settings any = append([]string{}, f.tables...)
	if f.Sweeps {
		settings = map[string]any{"tables": settings, "sweeps": true}
	}
	document, err := json.Marshal(settings)
	if err != nil {
		return fmt.Errorf("begin function %s: %w", f.name, err)
	}
	err = r.driver.GetExecutor().Exec(ctx, "SELECT capture.open_function($1::text, $2::text, $3::text::json, $4::integer)",
		f.name, cmp.Or(f.Database, DefaultDatabase), string(document), cmp.Or(f.Shards, 1))
	if err != nil {
		return fmt.Errorf("begin function %s: %w", f.name, err)
	}
	for failures := 0; ; {
		more, err := r.turn(ctx)
		wait := changeIdle
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			failures++
			wait = backoff(failures)
			f.failed(ctx, err)
		case more:
			failures, wait = 0, 0
		default:
			failures = 0
		}
		if wait == 0 {
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
	}
}

func (f *ChangeFunc[TTx]) failed(ctx context.Context, err error) {
	if f.Failed != nil {
		f.Failed(ctx, fmt.Errorf("function %s: %w", f.name, err))
	}
}

// backoff returns how long to wait after a number of failures in a row: a second, two, four, up to a minute.
func backoff(failures int) time.Duration { return min(time.Second<<min(failures-1, 10), longestWait) }

// changeRun is the state of one call of Run.
type changeRun[TTx any] struct {
	*ChangeFunc[TTx]

	driver riverdriver.Driver[TTx]
}

// changeBatch is what capture.take_changes returns.
type changeBatch struct {
	Shard     int      `json:"shard"`
	Failures  int      `json:"failures"`
	UpTo      int64    `json:"upto"`
	Changes   []Change `json:"changes"`
	Witnesses []Change `json:"witnesses"`
	Letters   []struct {
		Position int64  `json:"position"`
		Change   Change `json:"change"`
	} `json:"letters"`
	Parked bool `json:"parked"` // whether some keys are parked
}

// changeLetter is a change that becomes or stays a dead letter.
type changeLetter struct {
	Position int64  `json:"position"`
	Hash     string `json:"hash"`
	Key      string `json:"key"`
	Change   Change `json:"change"`
	State    string `json:"state"`
	Reason   string `json:"reason"`
}

func letterOf(c Change, state, reason string) changeLetter {
	return changeLetter{Position: c.Position, Hash: hexHash(c), Key: readable(change.Key(c)), Change: c, State: state, Reason: readable(reason)}
}

func waits(c Change) changeLetter {
	return letterOf(c, "waiting", "it waits behind an earlier change of its key")
}

func hexHash(c Change) string { return hex.EncodeToString(change.Hash(c)) }

// readable shortens text to maxReason, and removes what Postgres cannot store.
func readable(text string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(text[:min(len(text), maxReason)], "\x00", ""), "")
}

// turn takes a batch, calls the function with it and moves the position, all in one transaction.
func (r *changeRun[TTx]) turn(ctx context.Context) (more bool, err error) {
	tx, err := r.driver.GetExecutor().Begin(ctx)
	if err != nil {
		return false, fmt.Errorf("begin a transaction: %w", err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // It was committed, or ends with its connection.
	var document *string
	row := tx.QueryRow(ctx, "SELECT capture.take_changes($1::text, $2::integer)::text", r.name, cmp.Or(r.Batch, DefaultChangeBatch))
	if err := row.Scan(&document); err != nil {
		return false, fmt.Errorf("take changes: %w", err)
	}
	if document == nil {
		return false, nil
	}
	var batch changeBatch
	if err := json.Unmarshal([]byte(*document), &batch); err != nil {
		return false, fmt.Errorf("read changes: %w", err)
	}
	switch {
	case len(batch.Letters) > 0:
		err = r.replay(ctx, tx, batch)
	case len(batch.Changes) > 0:
		err = r.deliver(ctx, tx, batch)
	}
	if err != nil {
		return false, err
	}
	if err := tx.Commit(ctx); err != nil {
		return false, fmt.Errorf("commit: %w", err)
	}
	return true, nil
}

// deliver calls the function with a batch and records the result.
func (r *changeRun[TTx]) deliver(ctx context.Context, tx riverdriver.ExecutorTx, batch changeBatch) error {
	parked, err := r.parked(ctx, tx, batch)
	if err != nil {
		return err
	}
	if err := tx.Exec(ctx, "SAVEPOINT daymill_batch"); err != nil {
		return fmt.Errorf("set a savepoint: %w", err)
	}
	made := &delivery{parked: parked}
	if err := r.halve(ctx, tx, batch.Changes, made); err != nil {
		return err
	}
	if made.failed != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.failed(ctx, made.failed)
		// The whole batch is delivered again, so what the function did with the first half of it is undone too.
		if err := tx.Exec(ctx, "ROLLBACK TO SAVEPOINT daymill_batch"); err != nil {
			return fmt.Errorf("go back to a savepoint: %w", err)
		}
		made.letters, made.taken = nil, 0
		if batch.Failures < suspectAfter || len(batch.Changes) > 1 || !r.takesAnother(ctx, tx, batch, parked) {
			wait := fmt.Sprintf("%d milliseconds", backoff(batch.Failures+1).Milliseconds())
			return r.record(ctx, tx, "SELECT capture.fail_changes($1::text, $2::integer, $3::text, $4::text::interval)",
				r.name, batch.Shard, readable(made.failed.Error()), wait)
		}
		made.letters = append(made.letters, letterOf(batch.Changes[0], "refused", "the function fails on this change and accepts others: "+made.failed.Error()))
	}
	letters, err := json.Marshal(append([]changeLetter{}, made.letters...))
	if err != nil {
		return fmt.Errorf("write dead letters: %w", err)
	}
	return r.record(ctx, tx, "SELECT capture.settle_changes($1::text, $2::integer, $3::bigint, $4::bigint, $5::text::json)",
		r.name, batch.Shard, batch.UpTo, made.taken, string(letters))
}

// delivery is the result of a batch so far.
type delivery struct {
	parked  map[string]bool // hashes of keys
	letters []changeLetter
	taken   int64
	failed  error // an error that may go away
}

// halve calls the function with changes. After a permanent error, it calls the function with each half, to find the changes that
// cause the error.
func (r *changeRun[TTx]) halve(ctx context.Context, tx riverdriver.ExecutorTx, changes []Change, made *delivery) error {
	var sent []Change
	for _, c := range changes {
		if made.parked[hexHash(c)] {
			made.letters = append(made.letters, waits(c))
		} else {
			sent = append(sent, c)
		}
	}
	if len(sent) == 0 || made.failed != nil {
		return nil //nolint:nilerr // The caller reads made.failed.
	}
	failed, err := r.call(ctx, tx, sent, false)
	switch {
	case err != nil:
		return err
	case failed == nil:
		made.taken += int64(len(sent))
		return nil
	case !isPermanent(failed):
		made.failed = failed
		return nil
	case len(sent) == 1:
		made.parked[hexHash(sent[0])] = true
		made.letters = append(made.letters, letterOf(sent[0], "refused", failed.Error()))
		return nil
	}
	middle := len(sent) / 2
	if err := r.halve(ctx, tx, sent[:middle], made); err != nil {
		return err
	}
	return r.halve(ctx, tx, sent[middle:], made)
}

// call calls the function within a savepoint. If the function fails, or undo is set, it undoes what the function did in the
// transaction.
func (r *changeRun[TTx]) call(ctx context.Context, tx riverdriver.ExecutorTx, changes []Change, undo bool) (failed, err error) {
	if err := tx.Exec(ctx, "SAVEPOINT daymill_function"); err != nil {
		return nil, fmt.Errorf("set a savepoint: %w", err)
	}
	failed = r.protected(ctx, tx, changes)
	if failed == nil && !undo {
		// RELEASE fails if a statement of the function failed and the function ignored the error.
		if failed = tx.Exec(ctx, "RELEASE SAVEPOINT daymill_function"); failed == nil {
			return nil, nil
		}
	}
	if err := tx.Exec(ctx, "ROLLBACK TO SAVEPOINT daymill_function"); err != nil {
		return nil, errors.Join(failed, fmt.Errorf("go back to a savepoint: %w", err))
	}
	return failed, nil
}

// protected calls the function and turns a panic into an error.
func (r *changeRun[TTx]) protected(ctx context.Context, tx riverdriver.ExecutorTx, changes []Change) (err error) {
	defer func() {
		if bug := recover(); bug != nil {
			err = fmt.Errorf("the function panicked: %v", bug)
		}
	}()
	return r.do(ctx, r.driver.UnwrapTx(tx), changes)
}

// takesAnother reports whether the function accepts a change of another row. If it does, the change that it refuses is the cause
// of the error.
func (r *changeRun[TTx]) takesAnother(ctx context.Context, tx riverdriver.ExecutorTx, batch changeBatch, parked map[string]bool) bool {
	for _, c := range batch.Witnesses {
		if hexHash(c) != hexHash(batch.Changes[0]) && !parked[hexHash(c)] {
			failed, err := r.call(ctx, tx, []Change{c}, true)
			return failed == nil && err == nil
		}
	}
	return false
}

// parked returns which keys of a batch are parked.
func (r *changeRun[TTx]) parked(ctx context.Context, tx riverdriver.ExecutorTx, batch changeBatch) (map[string]bool, error) {
	parked := map[string]bool{}
	if !batch.Parked {
		return parked, nil
	}
	hashes := []string{}
	for _, c := range append(batch.Changes, batch.Witnesses...) {
		hashes = append(hashes, hexHash(c))
	}
	document, err := json.Marshal(hashes)
	if err != nil {
		return nil, fmt.Errorf("look for parked keys: %w", err)
	}
	var found string
	err = tx.QueryRow(ctx, "SELECT capture.parked_keys($1::text, $2::text::json)::text", r.name, string(document)).Scan(&found)
	if err == nil {
		err = json.Unmarshal([]byte(found), &hashes)
	}
	if err != nil {
		return nil, fmt.Errorf("look for parked keys: %w", err)
	}
	for _, hash := range hashes {
		parked[hash] = true
	}
	return parked, nil
}

// replay calls the function with the dead letters whose replay was requested, one after another.
func (r *changeRun[TTx]) replay(ctx context.Context, tx riverdriver.ExecutorTx, batch changeBatch) error {
	gone, again := []int64{}, []changeLetter{}
	parked := map[string]bool{}
	for _, l := range batch.Letters {
		if parked[hexHash(l.Change)] {
			continue
		}
		failed, err := r.call(ctx, tx, []Change{l.Change}, false)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case failed != nil:
			parked[hexHash(l.Change)] = true
			again = append(again, letterOf(l.Change, "refused", failed.Error()))
		default:
			gone = append(gone, l.Position)
		}
	}
	goneDocument, err := json.Marshal(gone)
	if err != nil {
		return fmt.Errorf("settle dead letters: %w", err)
	}
	againDocument, err := json.Marshal(again)
	if err != nil {
		return fmt.Errorf("settle dead letters: %w", err)
	}
	return r.record(ctx, tx, "SELECT capture.settle_letters($1::text, $2::integer, $3::text::json, $4::text::json)",
		r.name, batch.Shard, string(goneDocument), string(againDocument))
}

func (*changeRun[TTx]) record(ctx context.Context, tx riverdriver.ExecutorTx, sql string, args ...any) error {
	if err := tx.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("record the result of the changes: %w", err)
	}
	return nil
}
