package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/signal"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/telemetry"
)

// version is what a table's columns are.
type version struct {
	schema, table string
	number        int
	columns       []byte
	unsaved       bool // until its first change lands
}

// load reads what is known of the tables.
func (s *session) load(ctx context.Context) error {
	rows, err := db.New(s.DB).SchemaVersionLast(ctx, s.writer.ID())
	if err != nil {
		return fmt.Errorf("read schema versions: %w", err)
	}
	s.versions = map[string]*version{}
	for _, row := range rows {
		s.versions[row.SchemaName+"\x00"+row.TableName] = &version{
			schema: row.SchemaName, table: row.TableName, number: int(row.Version), columns: []byte(row.Columns),
		}
	}
	return nil
}

// find looks for the tables that are wanted. Which of them are captured is recorded once they are: see record.
func (s *session) find(ctx context.Context) error {
	patterns, err := s.wanted(ctx)
	if err != nil {
		return err
	}
	found, err := table.Find(ctx, s.Source, patterns)
	if err != nil {
		return err
	}
	queries := db.New(s.DB)
	rows, err := queries.CapturedList(ctx, s.writer.ID())
	if err != nil {
		return fmt.Errorf("read the captured tables: %w", err)
	}
	var before []string
	byOID := map[uint32]table.Table{}
	for _, row := range rows { // Also those that are dropped: there may be changes of them still.
		if row.Reason == "" {
			before = append(before, row.SchemaName+"."+row.TableName)
		}
		byOID[uint32(row.Oid)] = table.Table{OID: uint32(row.Oid), Schema: row.SchemaName, Name: row.TableName} //nolint:gosec // An OID.
	}
	for _, t := range found {
		byOID[t.OID] = t
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for oid, t := range s.byOID {
		if _, has := byOID[oid]; !has {
			byOID[oid] = t
		}
	}
	s.found = found
	s.tables = slices.DeleteFunc(slices.Clone(found), func(t table.Table) bool { return t.Reason != "" })
	s.before, s.byOID, s.patterns = before, byOID, patterns
	return nil
}

// record writes down which tables are captured from here on, and why others are not.
func (s *session) record(ctx context.Context) error {
	names := make([]string, len(s.found))
	var grown []string
	err := s.writer.Tx(ctx, func(tx pgx.Tx, queries *db.Queries) error {
		followed, err := queries.StreamFollowed(ctx, s.writer.ID())
		if err != nil {
			return err
		}
		for i, t := range s.found {
			names[i] = t.String()
			if t.Reason == "" && !slices.Contains(s.before, t.String()) {
				grown = append(grown, t.String())
			}
			err := queries.CapturedUpsert(ctx, db.CapturedUpsertParams{
				StreamID: s.writer.ID(), SchemaName: t.Schema, TableName: t.Name, Oid: int64(t.OID), Identity: t.Identity, Reason: t.Reason,
			})
			if err != nil {
				return err
			}
		}
		if err := queries.CapturedDelete(ctx, db.CapturedDeleteParams{StreamID: s.writer.ID(), Tables: names}); err != nil {
			return err
		}
		if err := queries.StreamFollow(ctx, db.StreamFollowParams{ID: s.writer.ID(), Followed: s.patterns}); err != nil {
			return err
		}
		// A table that appears under the same patterns was made a moment ago, and may have rows already.
		if len(grown) == 0 || !followed.IsKnown || !slices.Equal(followed.Followed, s.patterns) {
			return nil
		}
		return s.repair(ctx, tx, grown)
	})
	if err != nil {
		return fmt.Errorf("record the captured tables: %w", err)
	}
	for _, t := range grown { // The next look records them no more.
		if !slices.Contains(s.before, t) {
			s.before = append(s.before, t)
		}
	}
	return nil
}

// version returns the number of a table's columns, a new one if they are others than before.
func (s *session) version(schema, name string, columns []table.Column) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := schema + "\x00" + name
	last := s.versions[key]
	if len(columns) == 0 && last != nil { // The table is gone.
		return last.number
	}
	columns = numbered(columns, last)
	document, err := json.Marshal(columns)
	if err != nil { // Names and numbers: it does not happen.
		document = nil
	}
	if last != nil && bytes.Equal(last.columns, document) {
		return last.number
	}
	next := &version{schema: schema, table: name, number: 1, columns: document, unsaved: true}
	if last != nil {
		next.number = last.number + 1
	}
	s.versions[key] = next
	return next.number
}

// numbered gives columns that are gone by now the numbers that they had.
func numbered(columns []table.Column, last *version) []table.Column {
	if last == nil || !slices.ContainsFunc(columns, func(c table.Column) bool { return c.Number == 0 }) {
		return columns
	}
	var before []table.Column
	if json.Unmarshal(last.columns, &before) != nil { // It was written here.
		return columns
	}
	columns = slices.Clone(columns)
	for i, c := range columns {
		at := slices.IndexFunc(before, func(b table.Column) bool { return b.Name == c.Name })
		if c.Number == 0 && at >= 0 {
			columns[i].Number = before[at].Number
		}
	}
	return columns
}

// land writes changes to the log, and with the first change of a schema version the version.
func (s *session) land(ctx context.Context, changes []change.Change, mark log.Mark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.versions {
		if !v.unsaved {
			continue
		}
		at := slices.IndexFunc(changes, func(c change.Change) bool {
			return c.SchemaVersion == v.number && c.Table == v.table && c.Schema == v.schema
		})
		if at < 0 {
			continue
		}
		err := s.writer.Do(ctx, func(queries *db.Queries) error { // Its foreign key wants the stream's row.
			return queries.SchemaVersionInsert(ctx, db.SchemaVersionInsertParams{
				StreamID: s.writer.ID(), SchemaName: v.schema, TableName: v.table, Version: int32(v.number), //nolint:gosec // Few.
				Position: s.writer.Position() + int64(at) + 1, Columns: v.columns,
			})
		})
		if err != nil {
			return fmt.Errorf("record a schema version: %w", err)
		}
		v.unsaved = false
	}
	if len(changes) == 0 {
		return s.writer.Land(ctx, changes, mark)
	}
	began := s.Clock.Now()
	ctx = telemetry.Tell(ctx, s.Listeners, signal.LandStart{Stream: s.Name, Changes: len(changes)})
	err := s.writer.Land(ctx, changes, mark)
	telemetry.Tell(ctx, s.Listeners, signal.Land{
		Stream: s.Name, Changes: len(changes), Position: s.writer.Position(), Took: s.Clock.Now().Sub(began), Err: err,
	})
	return err
}

// wanted are the patterns of the tables that are to be captured.
func (s *session) wanted(ctx context.Context) ([]string, error) {
	if s.Tables != nil {
		return s.Tables, nil
	}
	patterns, err := db.New(s.DB).StreamPatterns(ctx, s.writer.ID())
	if err != nil {
		return nil, fmt.Errorf("read which tables are captured: %w", err)
	}
	return patterns, nil
}

// watch checks the tables if it is time, or if other tables are to be captured than before.
func (s *session) watch(ctx context.Context) error {
	patterns, err := s.wanted(ctx)
	if err != nil {
		return err
	}
	now := s.Clock.Now()
	if slices.Equal(patterns, s.patterns) && now.Sub(s.looked) < s.Look && !now.Before(s.looked) {
		return nil
	}
	s.looked = now
	return s.look(ctx)
}

// look keeps up with the application and with the log: new tables and partitions, lost triggers, the disk.
func (s *session) look(ctx context.Context) error {
	if err := s.find(ctx); err != nil {
		return err
	}
	if len(s.patterns) == 0 {
		return errDown
	}
	var err error
	if s.mode == ModeWAL {
		err = s.lookWAL(ctx)
	} else {
		err = s.install(ctx)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err = s.writer.Maintain(ctx, s.Retention)
	return err
}
