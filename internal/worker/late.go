package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/rollup/source"
)

// KindRollup is the kind of a consumer that notices late events in the stream of changes.
const KindRollup = source.LateKind

// LateSettings are the settings of a consumer of kind KindRollup.
type LateSettings struct {
	Tables  []string `json:"tables"` // the pattern that matches the table
	Table   string   `json:"table"`  // as gaps name it: schema.table
	Time    string   `json:"time"`
	Zone    string   `json:"zone,omitempty"`
	Counted []string `json:"counted,omitempty"`
}

// LateSink requests the dates of late events, in the transaction that moves the consumer's position.
type LateSink struct {
	consumer consumer.Consumer
	settings LateSettings
}

// OpenLate returns the sink of a consumer of kind KindRollup.
func OpenLate(of consumer.Consumer) (*LateSink, error) {
	s := &LateSink{consumer: of}
	if err := json.Unmarshal(of.Settings, &s.settings); err != nil {
		return nil, fmt.Errorf("read the settings of %s: %w", of.Name, err)
	}
	return s, nil
}

// Close does nothing.
func (*LateSink) Close() error { return nil }

// Deliver returns an error. The log and the requests are in one database, so DeliverTx is called instead.
func (*LateSink) Deliver(context.Context, []change.Change) ([]sink.Refusal, error) {
	return nil, errors.New("late events must be delivered in the transaction that moves the position")
}

// DeliverTx requests the dates that changes have touched. It requests all dates if a change does not show its dates, because a
// truncate has no rows or the old row of an update or delete is unknown. It also requests all dates if changes are missing.
func (s *LateSink) DeliverTx(ctx context.Context, tx pgx.Tx, changes []change.Change) ([]sink.Refusal, error) {
	var instants []string
	gaps, err := db.New(tx).LateGap(ctx, db.LateGapParams{Stream: s.consumer.Stream, TableName: s.settings.Table, Consumer: s.consumer.Name})
	if err != nil {
		return nil, fmt.Errorf("look for gaps: %w", err)
	}
	every := gaps > 0
	for _, c := range changes {
		touched, known, err := s.touched(c)
		if err != nil {
			return nil, err
		}
		every = every || !known
		instants = append(instants, touched...)
	}
	if every {
		if err := source.RequestEvery(ctx, tx); err != nil {
			return nil, err
		}
	}
	return nil, source.RequestLate(ctx, tx, instants, s.settings.Zone)
}

// touched returns the instants of the events that a change has added or removed, and false if they are unknown.
func (s *LateSink) touched(c change.Change) (instants []string, known bool, err error) {
	if c.Op == change.Truncate {
		return nil, false, nil
	}
	var before, after map[string]json.RawMessage
	for _, one := range []struct {
		row json.RawMessage
		to  *map[string]json.RawMessage
	}{{c.Old, &before}, {c.New, &after}} {
		if len(one.row) == 0 {
			continue
		}
		if err := json.Unmarshal(one.row, one.to); err != nil {
			return nil, false, fmt.Errorf("read the row at position %d: %w", c.Position, err)
		}
	}
	_, had := before[s.settings.Time]
	known = c.Op == change.Insert && len(before) == 0 || had
	if c.Op == change.Update && had && s.same(before, after) {
		return nil, true, nil
	}
	for _, row := range []map[string]json.RawMessage{before, after} {
		var at *string
		if value, has := row[s.settings.Time]; has {
			if err := json.Unmarshal(value, &at); err != nil {
				return nil, false, fmt.Errorf("read the instant at position %d: %w", c.Position, err)
			}
		}
		if at != nil {
			instants = append(instants, *at)
		}
	}
	return instants, known, nil
}

// same reports whether an update left all columns of the event unchanged.
func (s *LateSink) same(before, after map[string]json.RawMessage) bool {
	if len(s.settings.Counted) == 0 {
		return false
	}
	for _, name := range append([]string{s.settings.Time}, s.settings.Counted...) {
		was, had := before[name]
		is, has := after[name]
		if !had || !has || !bytes.Equal(was, is) {
			return false
		}
	}
	return true
}
