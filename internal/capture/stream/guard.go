package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/capture/value"
	"github.com/daymill/daymill/internal/capture/wal"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

func tooMuch(retained, limit int64) *gap {
	return &gap{kind: "guard", reason: fmt.Sprintf("the slot held back %d MiB of WAL, more than the limit of %d MiB, and was dropped", retained>>20, limit>>20)}
}

// warnAt is how much WAL held back the stream's state warns of: half of the limit at most, so that there is a warning before the slot is
// dropped.
func (o *Owner) warnAt(limit int64) int64 { return min(o.Warn, limit/2) }

// guard checks how much WAL the slot holds back while nobody reads the stream, whatever the reason.
func (o *Owner) guard(ctx context.Context) error {
	row, err := db.New(o.DB).StreamGet(ctx, o.Name)
	if err != nil || row.Mode != ModeWAL || row.Slot == "" {
		return err
	}
	slot, has, err := wal.FindSlot(ctx, o.Source, row.Slot)
	if err != nil || !has || slot.Active {
		return err
	}
	limit, err := wal.Limit(ctx, o.Source, o.Limit)
	if err != nil {
		return err
	}
	err = db.New(o.DB).StreamGuard(ctx, db.StreamGuardParams{
		ID: row.ID, Token: row.Token, Retained: slot.Retained, Behind: slot.Behind,
		WarnAt: o.warnAt(limit), DropAt: limit,
	})
	if err != nil || slot.Retained <= limit {
		return err
	}
	err = o.DB.Tx(ctx, func(tx pgx.Tx) error {
		if _, err := db.New(tx).StreamUnowned(ctx, db.StreamUnownedParams{Name: o.Name, Silence: silenceInBeats * o.Beat}); err != nil {
			return err
		}
		return o.insertGap(ctx, tx, row.ID, row.Position, *tooMuch(slot.Retained, limit))
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // Its owner guards it.
	}
	if err != nil {
		return err
	}
	o.tell(ctx, row.Position, *tooMuch(slot.Retained, limit))
	return wal.DropSlot(ctx, o.Source, row.Slot)
}

// fill looks up a row by its key.
func (s *session) fill(ctx context.Context, oid uint32, key map[string]string) (map[string]json.RawMessage, error) {
	none := map[string]json.RawMessage{}
	t, has, err := table.Get(ctx, s.Source, oid)
	if err != nil || !has {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(key))
	for _, name := range names {
		if !slices.Contains(t.Names(), name) {
			return none, nil // The key has other columns now.
		}
	}
	if len(names) == 0 {
		return none, nil
	}
	types := value.New(s.Source)
	parameters, err := types.Parameters(ctx, t.OID, names)
	if err != nil {
		return nil, err
	}
	conditions, arguments := make([]string, len(names)), make([]any, len(names))
	for i, name := range names {
		conditions[i], arguments[i] = "n."+pgx.Identifier{name}.Sanitize()+" = "+parameters[i], key[name]
	}
	write, err := types.Row(ctx, t.OID, t.Names())
	if err != nil {
		return nil, err
	}
	var row string
	err = s.Source.Read(ctx, func(on postgres.DBTX) error {
		return on.QueryRow(ctx, "SELECT "+value.RowSQL("n", t.Names())+" FROM "+t.SQL()+" AS n WHERE "+strings.Join(conditions, " AND "), arguments...).Scan(&row)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return none, nil
	}
	var document []byte
	if err == nil {
		document, err = write(nil, []byte(row))
	}
	if err != nil {
		return nil, fmt.Errorf("look up a row of %s: %w", t, err)
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(document, &values); err != nil {
		return nil, fmt.Errorf("look up a row of %s: %w", t, err)
	}
	return values, nil
}
