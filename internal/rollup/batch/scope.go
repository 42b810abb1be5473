package batch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/merge"
)

// ErrOdd is returned if a stored row has counts that are not whole numbers, such as those of an older system.
var ErrOdd = errors.New("a stored row has counts that are not whole numbers")

// scopeRows is how many rows are looked up by their entities at a time.
const scopeRows = 1_000

// Scope makes the rows of some entities, which must ascend, equal to the counted rows, and leaves all other rows alone. It
// returns the number of these rows before the change and their sums, and adds what was counted to Totals.
func (p *Publisher) Scope(ctx context.Context, entities []entity.ID, counted merge.Rows) (was Totals, sums merge.Sums, err error) {
	p.size()
	for len(entities) > 0 {
		if err := p.Alive(); err != nil {
			return Totals{}, merge.Sums{}, err
		}
		part := entities[:min(scopeRows, len(entities))]
		entities = entities[len(part):]
		stored, err := p.readScope(ctx, part)
		if err != nil {
			return Totals{}, merge.Sums{}, err
		}
		for i := range stored {
			row, err := rowOf(&stored[i])
			if err != nil {
				return Totals{}, merge.Sums{}, err
			}
			was.Events += row.Events()
			was.Entities++
			sums.Add(&row)
		}
		n := counted.Through(part[len(part)-1])
		rows := counted.Slice(0, n).List()
		counted = counted.Slice(n, counted.Len())
		changes, totals := diff(rows, stored, p.Totals)
		if err := p.write(ctx, changes); err != nil {
			return Totals{}, merge.Sums{}, err
		}
		p.Totals = totals
		if p.Counted != nil {
			p.Counted(rows)
		}
		// Read the rows again: if they differ from what was counted, somebody else writes to the table.
		if len(changes) > 0 {
			if stored, err = p.readScope(ctx, part); err != nil {
				return Totals{}, merge.Sums{}, err
			}
			if changes, _ := diff(rows, stored, Totals{}); len(changes) > 0 {
				return Totals{}, merge.Sums{}, fmt.Errorf("the row of entity %q is not what was written", p.Type.Format(changes[0].id))
			}
		}
	}
	return was, sums, nil
}

func (r *Reader) readScope(ctx context.Context, entities []entity.ID) (rows []db.MetricRangeRow, err error) {
	texts := make([]string, len(entities))
	for i, id := range entities {
		texts[i] = r.Type.Format(id)
	}
	took, err := r.Pacer.Do(r.Session, func() error {
		return r.Session.Look(ctx, r.reads.Limit(), func(ctx context.Context, on postgres.DBTX) error {
			found, err := db.New(on).MetricScope(ctx, db.MetricScopeParams{MetricDate: r.Date, Entities: texts})
			rows = make([]db.MetricRangeRow, len(found))
			for i := range found {
				rows[i] = db.MetricRangeRow(found[i])
			}
			return err
		})
	})
	if err == nil {
		err = ascend(nil, rows)
	}
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	return rows, r.Pacer.Pause(ctx, took)
}

// rowOf returns the counts of a stored row, without its entity.
func rowOf(stored *db.MetricRangeRow) (row merge.Row, err error) {
	row = merge.Row{Views: stored.ViewsCount, Clicks: stored.ClicksCount, Saves: stored.SavesCount, Skips: stored.SkipsCount}
	var others map[string]int64
	if err := json.Unmarshal(stored.OtherCounts, &others); err != nil {
		return merge.Row{}, fmt.Errorf("%w: %w", ErrOdd, err)
	}
	for name, events := range others {
		if events < 0 || events > math.MaxInt32 {
			return merge.Row{}, ErrOdd
		}
		row.Other = append(row.Other, merge.Other{Type: name, Events: int32(events)})
	}
	return row, nil
}
