package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/signal"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/capture/watermark"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/telemetry"
)

// version is a version of a table's columns.
type version struct {
	schema, table string
	number        int
	columns       []byte
}

// errVersion makes the owner read the versions and the changes again.
var errVersion = errors.New("a snapshot has recorded other columns of the table: its changes are read again")

// load reads the known schema versions of the tables.
func (s *session) load(ctx context.Context) error {
	rows, err := db.New(s.DB).SchemaVersionLast(ctx, s.writer.ID())
	if err != nil {
		return fmt.Errorf("read schema versions: %w", err)
	}
	s.versions, s.unsaved = map[string]*version{}, nil
	for _, row := range rows {
		s.versions[row.SchemaName+"\x00"+row.TableName] = &version{
			schema: row.SchemaName, table: row.TableName, number: int(row.Version), columns: []byte(row.Columns),
		}
	}
	return nil
}

// find looks up the tables to capture. record writes down which of them are captured, once they are.
func (s *session) find(ctx context.Context) error {
	patterns, err := s.wanted(ctx)
	if err != nil {
		return err
	}
	found, err := table.Find(ctx, s.Source, patterns)
	if err != nil {
		return err
	}
	row, err := s.stream(ctx)
	if err != nil {
		return err
	}
	if err := table.OnlyKeys(ctx, s.Source, found, slices.Concat(s.KeysOnly, row.KeysOnly)); err != nil {
		return err
	}
	queries := db.New(s.DB)
	rows, err := queries.CapturedList(ctx, s.writer.ID())
	if err != nil {
		return fmt.Errorf("read the captured tables: %w", err)
	}
	var before []string
	byOID := map[uint32]table.Table{}
	for _, row := range rows { // Include dropped tables: there may still be changes of them.
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

// record writes down which tables are captured from now on, and why others are not.
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
		// A new table that matches the same patterns may already have rows.
		if len(grown) == 0 || !followed.IsKnown || !slices.Equal(followed.Followed, s.patterns) {
			return nil
		}
		return s.repair(ctx, tx, grown)
	})
	if err != nil {
		return fmt.Errorf("record the captured tables: %w", err)
	}
	for _, t := range grown { // The next look does not record them again.
		if !slices.Contains(s.before, t) {
			s.before = append(s.before, t)
		}
	}
	return nil
}

// version returns the schema version of a table's columns. If the columns have changed, it is a new version.
func (s *session) version(schema, name string, columns []table.Column) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := schema + "\x00" + name
	last := s.versions[key]
	if len(columns) == 0 && last != nil { // The table was dropped.
		return last.number
	}
	columns = numbered(columns, last)
	document, err := json.Marshal(columns)
	if err != nil { // Marshaling names and numbers cannot fail.
		document = nil
	}
	if last != nil && bytes.Equal(last.columns, document) {
		return last.number
	}
	next := &version{schema: schema, table: name, number: 1, columns: document}
	if last != nil {
		next.number = last.number + 1
	}
	s.versions[key] = next
	s.unsaved = append(s.unsaved, next)
	return next.number
}

// numbered gives columns that no longer exist the numbers that they had.
func numbered(columns []table.Column, last *version) []table.Column {
	if last == nil || !slices.ContainsFunc(columns, func(c table.Column) bool { return c.Number == 0 }) {
		return columns
	}
	var before []table.Column
	if json.Unmarshal(last.columns, &before) != nil { // This package wrote it.
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

// land writes changes to the log. It writes a schema version together with the version's first change.
func (s *session) land(ctx context.Context, changes []change.Change, mark log.Mark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var later []*version
	for _, v := range s.unsaved {
		at := slices.IndexFunc(changes, func(c change.Change) bool {
			return c.SchemaVersion == v.number && c.Table == v.table && c.Schema == v.schema
		})
		if at < 0 {
			later = append(later, v)
			continue
		}
		err := s.writer.Do(ctx, func(queries *db.Queries) error { // Its foreign key locks the stream's row.
			return s.save(ctx, queries, v, s.writer.Position()+int64(at)+1)
		})
		if err != nil {
			return fmt.Errorf("record a schema version: %w", err)
		}
	}
	s.unsaved = later
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

// owns reports whether a text is a watermark of the stream.
func (s *session) owns(text string) bool { return watermark.Is(text, s.writer.ID()) }

// save records a version. A snapshot may have recorded other columns under its number in the meantime.
func (s *session) save(ctx context.Context, queries *db.Queries, v *version, position int64) error {
	number := int32(v.number) //nolint:gosec // Few.
	count, err := queries.SchemaVersionInsert(ctx, db.SchemaVersionInsertParams{
		StreamID: s.writer.ID(), SchemaName: v.schema, TableName: v.table, Version: number, Position: position, Columns: v.columns,
	})
	if err != nil || count > 0 {
		return err
	}
	columns, err := queries.SchemaVersionGet(ctx, db.SchemaVersionGetParams{Stream: s.Name, SchemaName: v.schema, TableName: v.table, Version: number})
	if err == nil && columns != string(v.columns) {
		err = errVersion
	}
	return err
}

// wanted returns the patterns of the tables to capture.
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

// watch calls look when it is due, or when the patterns of tables have changed.
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

// look checks for new tables and partitions and for lost triggers, maintains the log's partitions, and checks the disk.
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
	_, err = s.writer.Maintain(ctx, log.Keep{Retention: s.Retention, Hold: s.Hold})
	return err
}
