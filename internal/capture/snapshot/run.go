package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/signal"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
)

// Config configures a turn. DB, Source and Stream have no default.
type Config struct {
	DB     *postgres.DB // with the log
	Source *postgres.DB // database to read
	Stream string
	Clock  pace.Clock
	Pace   pace.Speed    // no pauses if nil
	Turn   time.Duration // after which Run returns even if there is more; a minute if 0
	Rows   int           // of a chunk, at most; DefaultRows if 0
	// Listeners receive a signal for every chunk; none if empty.
	Listeners telemetry.Listeners
}

// DefaultRows is how many rows a chunk has at most.
const DefaultRows = 10_000

const (
	firstRows = 500
	// patience is how long a turn waits for a watermark. After that, the stream is probably being taken over, and the next turn tries again.
	patience = 20 * time.Second
)

// errAgain says that the chunk or the state of the snapshot has to be read again.
var errAgain = errors.New("the snapshot has changed in the meantime")

// Run continues with the snapshots of a stream until it can do no more for them, or its turn is over. It reports whether there
// is more to do at once.
func Run(ctx context.Context, config Config) (more bool, err error) {
	if config.Clock == nil {
		config.Clock = pace.SystemClock{}
	}
	if config.Turn == 0 {
		config.Turn = time.Minute
	}
	if config.Rows == 0 {
		config.Rows = DefaultRows
	}
	began := config.Clock.Now()
	r := &runner{Config: config, sizes: map[int64]*pace.Size{}, began: began}
	r.pacer = pace.Pacer{Clock: config.Clock, Pace: config.Pace}
	if r.session, err = config.Source.Session(ctx); err != nil {
		return false, fmt.Errorf("snapshot %s: %w", config.Stream, err)
	}
	defer r.session.Release(ctx)
	defer r.drop()
	if err := r.expand(ctx); err != nil {
		return false, err
	}
	for {
		moved, err := r.round(ctx)
		if err != nil || !moved {
			return false, err
		}
		if config.Clock.Now().Sub(began) >= config.Turn {
			return true, nil
		}
	}
}

type runner struct {
	Config

	session *postgres.Session
	pacer   pace.Pacer
	sizes   map[int64]*pace.Size
	began   time.Time
	settled int64  // position up to which reads see everything
	ahead   *ahead // the next chunk; nil if it is not being read
}

// expand turns requests into one snapshot per table.
func (r *runner) expand(ctx context.Context) error {
	requests, err := db.New(r.DB).SnapshotRequestList(ctx, r.Stream)
	if err != nil {
		return fmt.Errorf("look for requests of snapshots: %w", err)
	}
	for _, request := range requests {
		err := r.DB.Tx(ctx, func(tx pgx.Tx) error { return r.expandOne(ctx, tx, request) })
		if err != nil {
			return fmt.Errorf("find the tables of a snapshot: %w", err)
		}
	}
	if len(requests) > 0 {
		return r.repaired(ctx) // A request without tables repairs its gap at once.
	}
	return nil
}

func (r *runner) expandOne(ctx context.Context, tx pgx.Tx, request db.SnapshotRequestListRow) error {
	queries := db.New(tx)
	count, err := queries.SnapshotRequestDelete(ctx, request.ID)
	if err != nil || count == 0 {
		return err
	}
	row, err := queries.StreamGet(ctx, r.Stream)
	if err != nil {
		return err
	}
	captured, err := queries.CapturedList(ctx, row.ID)
	if err != nil {
		return err
	}
	takes := func(string, string) bool { return true }
	var consumer *string
	if request.Consumer != "" {
		consumer = &request.Consumer
		if takes, err = filterOf(ctx, queries, request.Consumer); err != nil {
			return err
		}
	}
	for _, c := range captured {
		if c.Reason != "" || len(request.Tables) > 0 && !slices.Contains(request.Tables, c.SchemaName+"."+c.TableName) || !takes(c.SchemaName, c.TableName) {
			continue
		}
		err := queries.SnapshotInsert(ctx, db.SnapshotInsertParams{
			Stream: r.Stream, SchemaName: c.SchemaName, TableName: c.TableName, Consumer: consumer,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// filterOf returns a function that reports whether a consumer takes changes of a table.
func filterOf(ctx context.Context, queries *db.Queries, consumer string) (func(schema, table string) bool, error) {
	row, err := queries.ConsumerGet(ctx, consumer)
	if err != nil {
		return nil, err
	}
	var settings filter.Config
	if err := json.Unmarshal(row.Settings, &settings); err != nil {
		return nil, err
	}
	tables, err := filter.ParseTables(settings.Tables)
	if err != nil {
		return nil, err
	}
	return tables.Match, nil
}

// round takes one step for the snapshot whose turn it is, and reports whether it could.
func (r *runner) round(ctx context.Context) (moved bool, err error) {
	todo, err := db.New(r.DB).SnapshotNext(ctx, r.Stream)
	if err != nil {
		return false, fmt.Errorf("look for snapshots: %w", err)
	}
	for _, s := range todo {
		moved, err := r.step(ctx, s)
		if errors.Is(err, errAgain) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("snapshot %s.%s: %w", s.SchemaName, s.TableName, err)
		}
		if moved {
			return true, nil
		}
	}
	return false, nil
}

// step begins a snapshot, or reads one chunk of it. It reports false if the snapshot has to wait.
func (r *runner) step(ctx context.Context, s db.SnapshotNextRow) (moved bool, err error) {
	if s.Oid == nil {
		return false, r.wait(ctx, s, "the table is not captured: it was dropped, or no pattern matches it")
	}
	t, has, err := table.Get(ctx, r.Source, uint32(*s.Oid)) //nolint:gosec // An OID.
	if err != nil {
		return false, err
	}
	if !has {
		return false, r.wait(ctx, s, "the table no longer exists")
	}
	if s.State == Waiting {
		r.drop()
		return true, r.begin(ctx, s, t)
	}
	if s.Cursor == nil {
		r.drop()
		if ready, err := r.ready(ctx, s); err != nil || !ready {
			return false, err
		}
	}
	read, err := r.told(ctx, s, t)
	if err != nil {
		return true, err
	}
	if read.last == nil {
		return true, r.repaired(ctx)
	}
	return true, r.pacer.Pause(ctx, read.took)
}

// told reads a chunk, and tells the listeners the outcome.
func (r *runner) told(ctx context.Context, s db.SnapshotNextRow, t table.Table) (rows, error) {
	began := r.Clock.Now()
	ctx = telemetry.Tell(ctx, r.Listeners, signal.ChunkStart{Stream: r.Stream, Table: t.String()})
	read, err := r.chunk(ctx, s, t)
	told := signal.Chunk{Stream: r.Stream, Table: t.String(), Took: r.Clock.Now().Sub(began), Err: err}
	if errors.Is(err, errAgain) {
		told.Err = nil
	}
	if err == nil {
		told.Rows, told.Total, told.Last = len(read.changes), s.Rows+int64(len(read.changes)), read.last == nil
	}
	telemetry.Tell(ctx, r.Listeners, told)
	return read, err
}

func (r *runner) wait(ctx context.Context, s db.SnapshotNextRow, reason string) error {
	_, err := db.New(r.DB).SnapshotWait(ctx, db.SnapshotWaitParams{ID: s.ID, Chunks: s.Chunks, Reason: reason})
	return err
}

// begin records the position of the log and which transactions are open. The stream lacks the changes of a transaction that changed the
// table before it was published, even if the transaction ends later.
func (r *runner) begin(ctx context.Context, s db.SnapshotNextRow, t table.Table) error {
	var since string
	var estimate int64
	oids := append([]uint32{t.OID}, t.Parts...)
	err := r.session.Read(ctx, pace.Limit, func(ctx context.Context, on postgres.DBTX) error {
		return on.QueryRow(ctx, `
			SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text,
				(SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint FROM pg_catalog.pg_class AS c WHERE c.oid = ANY($1::oid[]) AND c.relkind = 'r')`,
			oids).Scan(&since, &estimate)
	})
	if err != nil {
		return err
	}
	place, err := r.place(ctx)
	if err != nil {
		return err
	}
	_, err = db.New(r.DB).SnapshotBegin(ctx, db.SnapshotBeginParams{
		ID: s.ID, Chunks: s.Chunks, After: place.Position, SinceXid: since, Estimate: estimate,
	})
	return err
}

// ready reports whether all transactions that were open when the snapshot began have ended.
func (r *runner) ready(ctx context.Context, s db.SnapshotNextRow) (is bool, err error) {
	err = r.session.Read(ctx, pace.Limit, func(ctx context.Context, on postgres.DBTX) error {
		return on.QueryRow(ctx, "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) >= $1::text::xid8", s.SinceXid).Scan(&is)
	})
	if err == nil && !is {
		err = r.wait(ctx, s, "a transaction that was open when the snapshot began has not ended")
	}
	return is, err
}

// place returns the position of the stream.
func (r *runner) place(ctx context.Context) (db.SnapshotStreamRow, error) {
	row, err := db.New(r.DB).SnapshotStream(ctx, r.Stream)
	if err != nil {
		return row, fmt.Errorf("read stream %s: %w", r.Stream, err)
	}
	return row, nil
}

// repaired closes the gaps of the stream whose snapshots are all complete.
func (r *runner) repaired(ctx context.Context) error {
	return r.DB.Tx(ctx, func(tx pgx.Tx) error {
		if _, err := db.New(tx).GapRepair(ctx, r.Stream); err != nil {
			return fmt.Errorf("record that gaps are repaired: %w", err)
		}
		return nil
	})
}
