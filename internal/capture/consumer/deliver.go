package consumer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/signal"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
)

// Defaults of Config.
const (
	DefaultBatch = 500
	DefaultTurn  = time.Minute
	// last is the number of failed attempts in a row after which a change, which is alone in its batch by then, is compared with another
	// change, to tell a bad row from a bad sink.
	last = 12
	// longest is the longest pause between attempts.
	longest = time.Minute
	// first is the size of a turn's first batch. Later ones are as large as the sink accepts within aim.
	first = 20
	aim   = 10 * time.Second
	// most is how long a batch may take. It is shorter than the job's own limit, whose end is not a failure of the sink.
	most = 45 * time.Second
)

// Query selects the changes that a shard reads from the log.
type Query struct {
	Stream        string
	After         int64 // position
	Shard, Shards int   // by the hash of the key
	Limit         int   // changes
	// Consumer is the name of the consumer, which also receives the changes that are only for it.
	Consumer string
}

// Log stores changes.
type Log interface {
	// Read returns changes of a shard after a position, in order, and the position up to which the shard has no others.
	Read(ctx context.Context, on postgres.DBTX, query Query) (changes []change.Change, upTo int64, err error)
	// Head returns the last position of a stream's log; 0 if it is empty.
	Head(ctx context.Context, on postgres.DBTX, stream string) (int64, error)
}

// TxSink is a sink in the log's own database. It delivers in the transaction that moves the position, so each change arrives exactly once.
type TxSink interface {
	sink.Sink
	DeliverTx(ctx context.Context, tx pgx.Tx, changes []change.Change) ([]sink.Refusal, error)
}

// Config configures the delivery to a shard. DB, Log, Sink and Filter have no default.
type Config struct {
	DB     *postgres.DB // with the log and the positions
	Log    Log
	Sink   sink.Sink
	Filter *filter.Filter
	Clock  pace.Clock // the system's if nil

	Consumer Consumer
	Shard    int
	Batch    int           // changes at a time, at most; what Sink takes at best if 0, or else DefaultBatch
	Turn     time.Duration // after which Run returns even if there is more; DefaultTurn if 0
	Most     time.Duration // after which a batch fails; 45 seconds if 0
	// Once reports that Sink is in the log's own database, and is a TxSink.
	Once bool
	// Listeners receive a signal for every batch; none if empty.
	Listeners telemetry.Listeners
	// Judge says why the consumer has to pause before a change whose table has other columns than the accepted schema version, and how
	// to fix that; empty if the consumer continues. If nil, the consumer always continues.
	Judge func(ctx context.Context, on postgres.DBTX, c change.Change, accepted int) (reason string, err error)
}

// Result is the result of a turn.
type Result struct {
	Delivered int  // changes
	Letters   int  // dead letters written
	More      bool // the turn ended before everything was delivered
	// After is how long to wait before the next turn, if Err says why the sink did not accept the changes.
	After time.Duration
	Err   error
}

// deliverer is one turn of a shard.
type deliverer struct {
	Config

	position int64
	lease    lease.Lease
	failures int
	size     int // of the next batch, if no attempt has failed
	result   Result
	accepted map[string]int // schema version by table
	letters  bool           // whether the consumer has any
	ahead    *ahead         // the next batch; nil if it is not read yet
}

// Run takes a shard and delivers until it has caught up, its turn is over, ctx is done, or the sink does not accept a batch. Errors of
// the sink are in the result. The returned error is lease.ErrFenced, also if the consumer is not as Config has it any more, ErrPaused, or an
// error of Daymill's own database.
func Run(ctx context.Context, config Config) (Result, error) {
	if config.Clock == nil {
		config.Clock = pace.SystemClock{}
	}
	if sized, is := config.Sink.(sink.Sized); is && config.Batch == 0 {
		config.Batch = sized.Batch()
	}
	config.Batch = cmp.Or(config.Batch, DefaultBatch)
	if config.Turn == 0 {
		config.Turn = DefaultTurn
	}
	d := &deliverer{Config: config, size: min(first, config.Batch)}
	if err := d.take(ctx); err != nil {
		return Result{}, err
	}
	defer d.drop()
	began := config.Clock.Now()
	for {
		if err := ctx.Err(); err != nil {
			return d.result, context.Cause(ctx)
		}
		more, err := d.step(ctx)
		var failed *sinkError
		switch {
		case errors.As(err, &failed):
			return d.fail(ctx, failed.error)
		case err != nil, !more:
			return d.result, err
		case config.Clock.Now().Sub(began) >= config.Turn:
			d.result.More = true
			return d.result, nil
		}
	}
}

// outcome returns how a batch ended, as signals name it.
func outcome(ctx context.Context, err error) string {
	switch {
	case err == nil:
		return signal.Complete
	case ctx.Err() != nil:
		return signal.Interrupted
	case errors.Is(err, lease.ErrFenced), errors.Is(err, ErrPaused):
		return signal.Lost
	default:
		return signal.Failed
	}
}

// sinkError is an error of the sink, as opposed to an error of the log's database.
type sinkError struct{ error }

func (e *sinkError) Unwrap() error { return e.error }

// unit is a shard of a consumer.
type unit struct {
	consumer string
	shard    int32
}

// Heartbeat checks the fence of a shard: see [lease.Unit].
func (u unit) Heartbeat(ctx context.Context, queries *db.Queries, term lease.Term, _ int64) (int64, error) {
	return queries.ShardHold(ctx, db.ShardHoldParams{Consumer: u.consumer, Shard: u.shard, Fence: term.ID})
}

func (d *deliverer) shard() int32 { return int32(d.Shard) } //nolint:gosec // The table bounds it.

func (d *deliverer) take(ctx context.Context) error {
	err := d.DB.Tx(ctx, func(tx pgx.Tx) error {
		row, err := db.New(tx).ShardTake(ctx, db.ShardTakeParams{Consumer: d.Consumer.Name, Shard: d.shard()})
		d.position, d.failures = row.Position, int(row.Failures)
		d.lease.Unit, d.lease.Term = unit{d.Consumer.Name, d.shard()}, lease.Term{ID: row.Fence}
		if c := d.Consumer; err == nil && (row.Kind != c.Kind || row.Stream != c.Stream || int(row.Shards) != c.Shards ||
			!bytes.Equal(row.Settings, c.Settings)) {
			return lease.ErrFenced
		}
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrPaused // The consumer may also have been removed.
	}
	if err != nil {
		return fmt.Errorf("take shard %d of %s: %w", d.Shard, d.Consumer.Name, err)
	}
	return nil
}

// limit returns the size of a batch. Each failed attempt halves it, down to one change.
func (d *deliverer) limit() int { return max(1, d.size>>min(d.failures, 30)) }

// paced sets the size of the next batch by how long the sink took for some changes.
func (d *deliverer) paced(changes int, took time.Duration) {
	d.size = d.Batch
	if fits := float64(changes) * float64(aim) / float64(max(took, 1)); fits < float64(d.Batch) {
		d.size = max(1, int(fits))
	}
}

// send delivers changes to the sink, for at most a limited time.
func (d *deliverer) send(ctx context.Context, changes []change.Change) ([]sink.Refusal, error) {
	limited, cancel := context.WithTimeoutCause(ctx, cmp.Or(d.Most, most), fmt.Errorf("it takes too long for %d changes", len(changes)))
	defer cancel()
	refusals, err := d.Sink.Deliver(limited, changes)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = context.Cause(limited)
	}
	return refusals, err
}

// letter is a change that becomes a dead letter.
type letter struct {
	change         change.Change
	state          string
	reason, answer string
}

// step delivers the next letters to replay or, if there are none, the next batch of the log.
func (d *deliverer) step(ctx context.Context) (more bool, err error) {
	replayed, err := d.replay(ctx)
	if err != nil || replayed {
		return replayed, err
	}
	changes, upTo, err := d.next(ctx)
	if err != nil {
		return false, err
	}
	if len(changes) == 0 && upTo <= d.position {
		return false, nil
	}
	if len(changes) == d.limit() { // There may be as many more.
		d.look(ctx, upTo)
	}
	if changes, upTo, err = d.judge(ctx, changes, upTo); err != nil {
		return false, err
	}
	return true, d.told(ctx, len(changes), func(ctx context.Context) error {
		if d.failures >= last && len(changes) == 1 {
			return d.suspect(ctx, changes[0], upTo)
		}
		return d.deliver(ctx, changes, upTo)
	})
}

// told delivers changes, and tells the listeners the outcome.
func (d *deliverer) told(ctx context.Context, changes int, deliver func(ctx context.Context) error) error {
	before, began := d.result, d.Clock.Now()
	ctx = telemetry.Tell(ctx, d.Listeners, signal.DeliveryStart{
		Consumer: d.Consumer.Name, Kind: d.Consumer.Kind, Shard: d.Shard, Changes: changes, After: d.position,
	})
	err := deliver(ctx)
	if err == nil {
		d.paced(changes, d.Clock.Now().Sub(began))
	}
	telemetry.Tell(ctx, d.Listeners, signal.Delivery{
		Consumer: d.Consumer.Name, Kind: d.Consumer.Kind, Shard: d.Shard, Outcome: outcome(ctx, err), Delivered: d.result.Delivered - before.Delivered,
		Letters: d.result.Letters - before.Letters, Position: d.position, Took: d.Clock.Now().Sub(began), Err: err,
	})
	return err
}

// plan returns the changes of a batch to deliver, in the form in which they are sent, and the changes that become letters without being
// delivered.
func (d *deliverer) plan(ctx context.Context, on postgres.DBTX, changes []change.Change) (sent, raw []change.Change, letters []letter, err error) {
	parked, err := d.parked(ctx, on, changes)
	if err != nil {
		return nil, nil, nil, err
	}
	sent, raw = make([]change.Change, 0, len(changes)), make([]change.Change, 0, len(changes))
	for _, c := range changes {
		shaped, passes, err := d.shape(c)
		switch {
		case err == nil && !passes:
		case len(parked) > 0 && parked[sink.Key(c)]:
			letters = append(letters, letter{change: c, state: Waiting, reason: "it waits behind an earlier change of its key"})
		case err != nil:
			parked[sink.Key(c)] = true
			letters = append(letters, letter{change: c, state: Refused, reason: err.Error()})
		default:
			sent, raw = append(sent, shaped), append(raw, c)
		}
	}
	return sent, raw, letters, nil
}

// shape returns a change as the sink gets it, and whether it gets it. Only what a filter says about tables counts for sweeps.
func (d *deliverer) shape(c change.Change) (shaped change.Change, passes bool, err error) {
	if c.Op == change.Sweep {
		return c, d.sweeps() && d.Filter.Takes(c.Schema, c.Table), nil
	}
	return d.Filter.Apply(c)
}

// parked returns the keys of changes that wait behind a letter.
func (d *deliverer) parked(ctx context.Context, on postgres.DBTX, changes []change.Change) (map[string]bool, error) {
	parked := map[string]bool{}
	if !d.letters { // Only this turn writes letters of the shard.
		return parked, nil
	}
	hashes, keys := make([][]byte, len(changes)), map[string]string{}
	for i, c := range changes {
		hashes[i] = change.Hash(c)
		keys[string(hashes[i])] = sink.Key(c)
	}
	found, err := db.New(on).LetterParked(ctx, db.LetterParkedParams{Consumer: d.Consumer.Name, KeyHashes: hashes})
	if err != nil {
		return nil, fmt.Errorf("look for parked keys: %w", err)
	}
	for _, hash := range found {
		parked[keys[string(hash)]] = true
	}
	return parked, nil
}

// sweeps reports whether the sink can find rows that a snapshot no longer found.
func (d *deliverer) sweeps() bool {
	sweeper, is := d.Sink.(sink.Sweeper)
	return is && sweeper.Sweeps()
}

// refused turns refusals into letters. Changes that follow a refused change of the same key wait behind it, even if the sink accepted
// them: the positions in the sink make it harmless to deliver them again.
func refused(raw []change.Change, refusals []sink.Refusal) (letters []letter, taken int) {
	reasons := make(map[int]sink.Refusal, len(refusals))
	for _, refusal := range refusals {
		reasons[refusal.Index] = refusal
	}
	if len(reasons) == 0 {
		return nil, len(raw)
	}
	keys := map[string]bool{}
	for i, c := range raw {
		key := sink.Key(c)
		refusal, is := reasons[i]
		switch {
		case keys[key]:
			letters = append(letters, letter{change: c, state: Waiting, reason: "it waits behind an earlier change of its key"})
		case is:
			keys[key] = true
			letters = append(letters, letter{change: c, state: Refused, reason: refusal.Reason, answer: refusal.Answer})
		default:
			taken++
		}
	}
	return letters, taken
}

// deliver delivers a batch to the sink, and moves the position.
func (d *deliverer) deliver(ctx context.Context, changes []change.Change, upTo int64) error {
	if d.Once {
		return d.once(ctx, changes, upTo)
	}
	var sent, raw []change.Change
	var letters []letter
	err := d.DB.Read(ctx, func(on postgres.DBTX) (err error) {
		sent, raw, letters, err = d.plan(ctx, on, changes)
		return err
	})
	if err != nil {
		return err
	}
	taken := 0
	if len(sent) > 0 {
		refusals, err := d.send(ctx, sent)
		if err != nil {
			return &sinkError{err}
		}
		var more []letter
		more, taken = refused(raw, refusals)
		letters = append(letters, more...)
	}
	err = d.DB.Tx(ctx, func(tx pgx.Tx) error { return d.move(ctx, tx, upTo, taken, letters) })
	return d.moved(err, upTo, taken, letters)
}

// once delivers in the transaction that moves the position.
func (d *deliverer) once(ctx context.Context, changes []change.Change, upTo int64) error {
	target, ok := d.Sink.(TxSink)
	if !ok {
		return fmt.Errorf("the sink of %s cannot deliver in a transaction of the log's database", d.Consumer.Name)
	}
	taken := 0
	var letters []letter
	err := d.DB.Tx(ctx, func(tx pgx.Tx) error {
		if err := d.hold(ctx, tx); err != nil {
			return err
		}
		sent, raw, planned, err := d.plan(ctx, tx, changes)
		letters = planned
		if err != nil {
			return err
		}
		if len(sent) > 0 {
			refusals, err := target.DeliverTx(ctx, tx, sent)
			if err != nil {
				return &sinkError{err}
			}
			var more []letter
			more, taken = refused(raw, refusals)
			letters = append(letters, more...)
		}
		return d.move(ctx, tx, upTo, taken, letters)
	})
	return d.moved(err, upTo, taken, letters)
}

// moved notes what a transaction with move did, if it was committed.
func (d *deliverer) moved(err error, upTo int64, taken int, letters []letter) error {
	if err != nil {
		return err
	}
	d.position, d.failures = upTo, 0
	d.letters = d.letters || len(letters) > 0
	d.result.Delivered += taken
	d.result.Letters += len(letters)
	return nil
}

// hold checks that this turn still holds the shard, and locks it until the transaction ends.
func (d *deliverer) hold(ctx context.Context, tx pgx.Tx) error {
	if err := d.lease.Fence(ctx, db.New(tx)); err != nil {
		return fmt.Errorf("hold shard %d of %s: %w", d.Shard, d.Consumer.Name, err)
	}
	return nil
}

// move moves the position and writes letters, in a transaction that begins with the fence. The commit does not wait for the disk if a crash
// of Postgres could only repeat deliveries: there are no letters, and the rows are in another system.
func (d *deliverer) move(ctx context.Context, tx pgx.Tx, upTo int64, taken int, letters []letter) error {
	err := lease.Fenced(db.New(tx).ShardMove(ctx, db.ShardMoveParams{
		Position: upTo, Delivered: int64(taken), Consumer: d.Consumer.Name, Shard: d.shard(), Fence: d.lease.Term.ID,
		Lazy: len(letters) == 0 && !d.Once,
	}))
	if err != nil {
		return fmt.Errorf("move %s to %d: %w", d.Consumer.Name, upTo, err)
	}
	return d.write(ctx, tx, letters)
}

func (d *deliverer) write(ctx context.Context, tx pgx.Tx, letters []letter) error {
	if len(letters) == 0 {
		return nil
	}
	params := db.LetterInsertParams{Consumer: d.Consumer.Name, Shard: d.shard()}
	for _, l := range letters {
		document, err := json.Marshal(l.change)
		if err != nil {
			return fmt.Errorf("write a dead letter: %w", err)
		}
		params.Positions = append(params.Positions, l.change.Position)
		params.KeyHashes = append(params.KeyHashes, change.Hash(l.change))
		params.Keys = append(params.Keys, sink.Answer([]byte(sink.Key(l.change))))
		params.Changes = append(params.Changes, string(document))
		params.States = append(params.States, l.state)
		params.Reasons = append(params.Reasons, sink.Answer([]byte(l.reason)))
		params.Answers = append(params.Answers, sink.Answer([]byte(l.answer)))
	}
	if err := db.New(tx).LetterInsert(ctx, params); err != nil {
		return fmt.Errorf("write dead letters of %s: %w", d.Consumer.Name, err)
	}
	return nil
}
