// Package comparison compares the rows of captured tables with those of a Postgres sink, and repairs what differs.
//
// It reads both sides in chunks, at a pace, while other sessions write to both. A row that differs is a suspect, because its change may
// not have been delivered yet. Run reads a suspect again in the source, waits until the sink has delivered everything that was
// committed by then, and reads both sides again. If the source's row did not change in the meantime, the two rows must be equal.
//
//	chunk ──▶ equal
//	  └─▶ suspect ──▶ source, log, sink, target, source again ──▶ equal
//	         ▲                          │                    └──▶ differs ──▶ repaired
//	         └── it changed in the meantime ┘ (a few times; then it counts as moving, and is not judged)
package comparison

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
)

// Defaults of Config.
const (
	DefaultChunk    = 1000
	DefaultPatience = 30 * time.Second
	// rounds is how often a suspect is compared before it counts as moving.
	rounds = 5
	// look is the interval at which to check whether the sink has caught up.
	look = 50 * time.Millisecond
)

var (
	// ErrBehind says that the sink does not catch up.
	ErrBehind = errors.New("the sink is behind, so rows that differ cannot be judged: let a worker run, and resume the sink if it is paused")
	// ErrNoStream says that nothing is captured in the source's database.
	ErrNoStream = errors.New("none of its database's tables is captured, so nothing can be compared")
)

// side describes a table in the source or in the target.
type side struct {
	db      *postgres.DB
	target  bool
	name    string   // quoted
	key     []string // columns, in the key's order
	columns []string // the others, in the same order on both sides
	called  []string // what the target calls key and columns
}

// Config configures a comparison. Log, Source, Target, Consumer and Repair have no default.
type Config struct {
	Log, Source, Target *postgres.DB
	Consumer            consumer.Consumer
	// Schema is the target's schema; the same as the source's if empty.
	Schema string
	// Column returns the name that a column has in the target; false if the sink does not receive the column.
	Column func(name string, isKey bool) (string, bool)
	// Repair writes rows to the target, and deletes others, as changes at a position. If nil, Run only compares.
	Repair func(ctx context.Context, table table.Table, rows []Row, position int64) error

	Clock    pace.Clock
	Pace     pace.Speed    // no pauses if nil
	Chunk    int           // rows; DefaultChunk if 0
	Patience time.Duration // for the sink to catch up; DefaultPatience if 0
}

// Row is what a row that differs should contain.
type Row struct {
	Key string // a JSON array of the key's values
	New string // a JSON object, with the target's names; empty if the row must not exist
}

// Result is the result of comparing one table.
type Result struct {
	Table     string   `json:"table"`
	Rows      int64    `json:"rows"`      // of the source
	Missing   int64    `json:"missing"`   // in the target
	Extra     int64    `json:"extra"`     // in the target
	Different int64    `json:"different"` // in some column
	Moving    int64    `json:"moving"`    // changed each time that they were read, so not judged
	Repaired  int64    `json:"repaired"`
	Examples  []string `json:"examples,omitempty"` // keys of some rows that differ
}

// Wrong returns how many rows differ and were not repaired.
func (r Result) Wrong() int64 { return r.Missing + r.Extra + r.Different - r.Repaired }

// maxExamples is the maximum number of keys in a result.
const maxExamples = 20

// comparer compares one table.
type comparer struct {
	Config

	table          table.Table
	source, target side
	result         Result
}

// Run compares one table.
func Run(ctx context.Context, config Config, t table.Table) (Result, error) {
	if config.Chunk == 0 {
		config.Chunk = DefaultChunk
	}
	if config.Patience == 0 {
		config.Patience = DefaultPatience
	}
	if config.Clock == nil {
		config.Clock = pace.SystemClock{}
	}
	c := &comparer{Config: config, table: t, result: Result{Table: t.String()}}
	c.sides()
	err := c.run(ctx)
	if err != nil {
		err = fmt.Errorf("compare %s: %w", t, err)
	}
	return c.result, err
}

// sides decides which columns are compared.
func (c *comparer) sides() {
	schema := c.Schema
	if schema == "" {
		schema = c.table.Schema
	}
	c.source = side{db: c.Source, name: c.table.SQL()}
	c.target = side{db: c.Target, target: true, name: quote(schema, c.table.Name)}
	keys := map[string]bool{}
	for _, name := range c.table.Key {
		keys[name] = true
		to, _ := c.Column(name, true)
		c.source.key, c.target.key = append(c.source.key, name), append(c.target.key, to)
	}
	for _, column := range c.table.Columns {
		to, sent := c.Column(column.Name, false)
		if sent && !keys[column.Name] {
			c.source.columns, c.target.columns = append(c.source.columns, column.Name), append(c.target.columns, to)
		}
	}
	c.source.called = append(slices.Clone(c.target.key), c.target.columns...)
	c.target.called = c.source.called
}

// run reads the source's rows and looks them up in the target, and then reads the target's rows, to find those that should not exist.
func (c *comparer) run(ctx context.Context) error {
	exists, err := c.target.exists(ctx)
	if err != nil {
		return err
	}
	if exists {
		if err := c.target.has(ctx, c.target.called); err != nil {
			return err
		}
	}
	pacer := &pace.Pacer{Clock: c.Clock, Pace: c.Pace}
	for _, from := range []side{c.source, c.target} {
		if from.target && !exists {
			continue
		}
		for after, more := "", true; more; {
			took, err := pacer.Do(nil, func() error {
				after, more, err = c.step(ctx, from, after, exists)
				return err
			})
			if err == nil {
				err = pacer.Pause(ctx, took)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// step compares the rows of one side after a key with those of the other side. For the target's rows it only checks whether they should
// exist: their values were compared when the source's rows were read.
func (c *comparer) step(ctx context.Context, from side, after string, exists bool) (last string, more bool, err error) {
	rows, order, err := from.chunk(ctx, after, c.Chunk)
	if err != nil || len(order) == 0 {
		return after, false, err
	}
	other := c.target
	if from.target {
		other = c.source
	} else {
		c.result.Rows += int64(len(order))
	}
	found := map[string]row{}
	if exists {
		if found, err = other.lookup(ctx, order); err != nil {
			return after, false, err
		}
	}
	var suspects []string
	for _, key := range order {
		has, is := found[key]
		if !is || !from.target && !equal(rows[key].document, has.document) {
			suspects = append(suspects, key)
		}
	}
	return order[len(order)-1], true, c.judge(ctx, suspects, exists)
}

// judge finds out which suspects differ.
func (c *comparer) judge(ctx context.Context, suspects []string, exists bool) error {
	for range rounds {
		if len(suspects) == 0 {
			return nil
		}
		first, err := c.source.lookup(ctx, suspects)
		if err != nil {
			return err
		}
		head, err := c.await(ctx)
		if err != nil {
			return err
		}
		stored := map[string]row{}
		if exists {
			if stored, err = c.target.lookup(ctx, suspects); err != nil {
				return err
			}
		}
		second, err := c.source.lookup(ctx, suspects)
		if err != nil {
			return err
		}
		var moving []string
		var wrong []Row
		for _, key := range suspects {
			was, had := first[key]
			is, has := second[key]
			got, there := stored[key]
			switch {
			case had != has || was != is || got.position > head:
				moving = append(moving, key)
			case had == there && (!had || equal(was.document, got.document)):
			default:
				wrong = append(wrong, Row{Key: key, New: was.document})
				c.count(key, had, there)
			}
		}
		if err := c.repair(ctx, wrong, head); err != nil {
			return err
		}
		suspects = moving
	}
	c.result.Moving += int64(len(suspects))
	return nil
}

func (c *comparer) count(key string, wanted, there bool) {
	switch {
	case !there:
		c.result.Missing++
	case !wanted:
		c.result.Extra++
	default:
		c.result.Different++
	}
	if len(c.result.Examples) < maxExamples {
		c.result.Examples = append(c.result.Examples, sink.Answer([]byte(key)))
	}
}

func (c *comparer) repair(ctx context.Context, wrong []Row, position int64) error {
	if c.Repair == nil || len(wrong) == 0 {
		return nil
	}
	if err := c.Repair(ctx, c.table, wrong, position); err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	c.result.Repaired += int64(len(wrong))
	return nil
}
