// Package clickhouse is a sink that keeps tables in ClickHouse equal to the rows of a stream. Each change adds a row. The table's engine,
// ReplacingMergeTree, keeps the row with the highest position of each key, so a batch may arrive twice. A deleted row stays in the table
// and is marked as deleted.
//
// It uses HTTP, which is the same in every version of ClickHouse. From version 23.2 on, the server omits deleted rows from SELECT …
// FINAL; for older versions, add WHERE NOT _daymill_deleted.
package clickhouse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
)

// Names of the columns that Daymill adds to a target table.
const (
	PositionColumn = "_daymill_position"
	DeletedColumn  = "_daymill_deleted"
)

var (
	// ErrConfig says that the configuration of a sink cannot be used.
	ErrConfig = errors.New("the ClickHouse sink cannot be used")
	// ErrTable says that Daymill did not create a target table.
	ErrTable = errors.New("the target table cannot be used")
)

// Config says where rows go. URL has no default.
type Config struct {
	URL string // https://user:password@host:8443
	// Database is the target database, which has the name of the source's schema if empty. It is created if it is missing.
	Database string
	// Columns returns the columns of a change's table at that change. If Columns is nil or returns none, they are derived from the row's
	// JSON.
	Columns func(ctx context.Context, c change.Change) ([]sink.Column, error)
}

// ClickHouse writes rows.
type ClickHouse struct {
	config   Config
	address  url.URL
	user     *url.Userinfo
	client   *http.Client
	version  version
	tables   map[string]*table // by the name of the source table
	prepared bool              // whether version is set
}

// requestTimeout is how long a statement may take.
const requestTimeout = 30 * time.Second

// Open checks the configuration. It does not connect.
func Open(config Config) (*ClickHouse, error) {
	target, err := url.Parse(config.URL)
	if err != nil || target.Scheme != "https" && target.Scheme != "http" || target.Host == "" {
		return nil, fmt.Errorf("%w: write its URL as https://user:password@host:8443", ErrConfig)
	}
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("%w: the process has another HTTP transport", ErrConfig)
	}
	c := &ClickHouse{config: config, address: *target, user: target.User, tables: map[string]*table{}}
	c.address.User = nil
	c.client = &http.Client{Transport: transport.Clone(), Timeout: requestTimeout, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	return c, nil
}

// Close closes the connections.
func (c *ClickHouse) Close() error {
	c.client.CloseIdleConnections()
	return nil
}

// Sweeps returns true: a sweep marks the rows that a snapshot did not find as deleted.
func (*ClickHouse) Sweeps() bool { return true }

// Deliver writes changes. If a batch has several changes of a key, it writes the last one.
func (c *ClickHouse) Deliver(ctx context.Context, changes []change.Change) ([]sink.Refusal, error) {
	collapsed, err := sink.Collapse(changes)
	if err != nil {
		return nil, err
	}
	if err := c.prepare(ctx); err != nil {
		return nil, err
	}
	var parked sink.Parked
	if err := c.halve(ctx, collapsed, &parked); err != nil {
		c.tables = map[string]*table{} // Somebody may have dropped a table.
		return nil, err
	}
	return parked.Refusals(), nil
}

// halve writes changes. If the server refuses them, it writes each half, to find the changes that cause the error.
func (c *ClickHouse) halve(ctx context.Context, changes []sink.Collapsed, parked *sink.Parked) error {
	if len(changes) == 0 {
		return nil
	}
	err := c.write(ctx, changes)
	var refused *refusal
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &refused):
		return err
	case len(changes) == 1:
		parked.RefuseAll(changes[0], refused.reason, sink.Answer([]byte(refused.answer)))
		return nil
	}
	middle := len(changes) / 2
	if err := c.halve(ctx, changes[:middle], parked); err != nil {
		return err
	}
	return c.halve(ctx, changes[middle:], parked)
}

// refusal is an error that a row causes, as opposed to an error of the server.
type refusal struct{ reason, answer string }

func (r *refusal) Error() string { return r.reason }

// group is the rows of a batch for one table.
type group struct {
	table *table
	rows  []map[string]json.RawMessage
	// incomplete are the changes whose rows lack columns, because the change did not touch them.
	incomplete []lacking
}

type lacking struct {
	row     map[string]json.RawMessage
	columns []string
}

// write writes changes, one INSERT per table. It marks truncated rows last; the mark has an older position than the rows that follow the
// truncate.
func (c *ClickHouse) write(ctx context.Context, changes []sink.Collapsed) error {
	groups := map[*table]*group{}
	var order []*group
	var truncated []func() error
	for _, one := range changes {
		t, err := c.table(ctx, one.Change)
		if err != nil {
			return err
		}
		if one.Op == change.Truncate || one.Op == change.Sweep {
			if t != nil {
				truncated = append(truncated, func() error { return c.remove(ctx, t, one.Change) })
			}
			continue
		}
		row, err := t.row(one.Change)
		if err != nil {
			return err
		}
		g := groups[t]
		if g == nil {
			g = &group{table: t}
			groups[t], order = g, append(order, g)
		}
		g.rows = append(g.rows, row)
		if len(one.Unchanged) > 0 {
			g.incomplete = append(g.incomplete, lacking{row, one.Unchanged})
		}
	}
	for _, g := range order {
		if err := c.complete(ctx, g); err != nil {
			return err
		}
		if err := c.insert(ctx, g); err != nil {
			return err
		}
	}
	for _, mark := range truncated {
		if err := mark(); err != nil {
			return err
		}
	}
	return nil
}

// insert adds rows in one block, which the server stores completely or not at all.
func (c *ClickHouse) insert(ctx context.Context, g *group) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	for _, row := range g.rows {
		if err := encoder.Encode(row); err != nil {
			return &refusal{reason: "the row cannot be written: " + err.Error()}
		}
	}
	return c.send(ctx, "INSERT INTO "+g.table.name+" FORMAT JSONEachRow", body.Bytes())
}

// complete reads the values that changes did not touch, because a row replaces the previous one completely.
func (c *ClickHouse) complete(ctx context.Context, g *group) error {
	if len(g.incomplete) == 0 {
		return nil
	}
	keys := make([]string, len(g.incomplete))
	for i, one := range g.incomplete {
		keys[i] = g.table.match(one.row)
	}
	stored, err := c.query(ctx, "SELECT * FROM "+g.table.name+" FINAL WHERE "+strings.Join(keys, " OR ")+" FORMAT JSONEachRow")
	if err != nil {
		return err
	}
	before := map[string]map[string]json.RawMessage{}
	decoder := json.NewDecoder(bytes.NewReader(stored))
	for decoder.More() {
		var row map[string]json.RawMessage
		if err := decoder.Decode(&row); err != nil {
			return fmt.Errorf("read what ClickHouse answered: %w", err)
		}
		before[g.table.keyOf(row)] = row
	}
	for _, one := range g.incomplete {
		for _, name := range one.columns {
			if value, has := before[g.table.keyOf(one.row)][name]; has {
				one.row[name] = value
			}
		}
	}
	return nil
}

// remove marks the rows that a truncate or a sweep deletes. The mark of a truncate has the truncate's position. The mark of a sweep has
// the position up to which rows are deleted: another shard may deliver rows of the same snapshot later, which have newer positions.
func (c *ClickHouse) remove(ctx context.Context, t *table, one change.Change) error {
	at, older := one.Position, " < "
	if one.Op == change.Sweep {
		before, err := sink.SweptUpTo(one)
		if err != nil {
			return &refusal{reason: err.Error()}
		}
		at, older = before, " <= "
	}
	position := strconv.FormatInt(at, 10)
	return c.send(ctx, "INSERT INTO "+t.name+" ("+t.keyColumns()+", "+PositionColumn+", "+DeletedColumn+") SELECT "+t.keyColumns()+", "+position+", 1 FROM "+
		t.name+" FINAL WHERE "+PositionColumn+older+position+" AND "+DeletedColumn+" = 0", nil)
}
