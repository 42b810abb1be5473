package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/batch"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/rollup/slice"
)

const (
	// mostScope is the most entities of a run that counts only some entities.
	mostScope = 20_000
	// smallScope is how many entities a run may always count one by one. For more entities, it does so only if they are a small
	// share of the date's entities, because each needs an index lookup.
	smallScope = 100
	scopeShare = 10
)

// before has the results of the date's last complete run. It is zero if another run has held the date since.
type before struct {
	complete bool
	totals   batch.Totals
}

// scope returns the entities that the claimed requests name, in key order, or nil if the run must count the whole date. It must do
// so unless the last complete run left all other entities right.
func (a *active) scope(ctx context.Context) (entities []entity.ID, err error) {
	if !a.before.complete || a.scanRun != a.id || a.known.Strict || a.known.Erase {
		return nil, nil
	}
	most := int64(mostScope)
	if share := a.before.totals.Entities / scopeShare; share < most {
		most = max(share, smallScope)
	}
	err = a.held(ctx, func(ctx context.Context, queries *db.Queries) error {
		entities, a.widened = nil, false
		found, err := queries.RequestScope(ctx, db.RequestScopeParams{
			MetricDate: a.order.Date, RunID: a.id, AtMost: int32(most) + 1, //nolint:gosec // At most mostScope.
		})
		if err != nil || !found.Scoped {
			return err
		}
		a.widened = true
		if int64(len(found.Entities)) > most {
			return nil
		}
		for _, text := range found.Entities {
			id, err := a.Type.Parse(text)
			if err != nil {
				entities = nil
				return nil //nolint:nilerr // Count the whole date instead.
			}
			entities = append(entities, id)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read which entities are requested: %w", err)
	}
	slices.Sort(entities)
	return entities, nil
}

// rollScope counts some entities again and publishes their rows, with the same fence and the same checks as for a whole date. If
// their events cannot be read quickly, or the server was restarted meanwhile, it does nothing and returns false.
func (a *active) rollScope(ctx context.Context, entities []entity.ID) (done bool, err error) {
	table := merge.New(a.maxEntities)
	err = a.during(ctx, PhaseScan, func(ctx context.Context) error {
		texts := make([]string, len(entities))
		for i, id := range entities {
			texts[i] = a.Type.Format(id)
		}
		return a.scanner.Scope(ctx, a.bounds, texts, table, func(done float64) error {
			a.progress = done
			return a.signOfLife(ctx)
		})
	})
	switch {
	case errors.Is(err, slice.ErrNoShortcut), err == nil && table.UpTo() != nil:
		return false, nil
	case err != nil:
		return false, err
	}
	if err := a.checkProtected(ctx); err != nil {
		return false, err
	}
	if steady, err := a.vouch(ctx); err != nil || !steady {
		return false, err
	}
	err = a.during(ctx, PhasePublish, func(ctx context.Context) error { return a.publishScope(ctx, entities, table.Rows()) })
	if errors.Is(err, batch.ErrOdd) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	a.scoped, a.widened = entities, false
	return true, a.during(ctx, PhaseSettle, a.settle)
}

func (a *active) publishScope(ctx context.Context, entities []entity.ID, rows merge.Rows) error {
	a.phase, a.progress = PhasePublish, 0
	a.publisher.Counted = func(rows []merge.Row) {
		for i := range rows {
			a.top.Add(&rows[i], rows[i].Events())
			a.sums.Add(&rows[i])
		}
	}
	a.publisher.Alive = func() error { return a.signOfLife(ctx) }
	// Do not move the cursor: it would mean that everything below it is published.
	a.publisher.Advance = func(ctx context.Context, queries *db.Queries, _ entity.ID, _ batch.Totals) error {
		return a.lease.Fence(ctx, queries)
	}
	was, sums, err := a.publisher.Scope(ctx, entities, rows)
	a.publisher.Advance = a.advance
	if err != nil {
		return err
	}
	a.scopeWas = sums
	a.publisher.Totals.Events += a.before.totals.Events - was.Events
	a.publisher.Totals.Entities += a.before.totals.Entities - was.Entities
	return nil
}

// topAfter returns the date's top entities after some entities were counted again. known is false if an entity has left a full
// list, because nobody has counted the entity that replaces it.
func (a *active) topAfter(ctx context.Context, queries *db.Queries, entities []entity.ID) (top merge.Top, known bool, err error) {
	text, err := queries.TopGet(ctx, a.order.Date)
	if errors.Is(err, pgx.ErrNoRows) {
		return merge.Top{}, false, nil
	}
	if err != nil {
		return merge.Top{}, false, fmt.Errorf("read the top entities: %w", err)
	}
	var stored map[string][]ranked
	if err := json.Unmarshal(text, &stored); err != nil {
		return merge.Top{}, false, nil //nolint:nilerr // Another version wrote them. The next run of the whole date replaces them.
	}
	for name, list := range a.top.Lists() {
		var kept []merge.Ranked
		for _, r := range stored[name] {
			id, err := a.Type.Parse(r.ID)
			if err != nil {
				return merge.Top{}, false, nil //nolint:nilerr // See above.
			}
			if _, again := slices.BinarySearch(entities, id); !again {
				kept = append(kept, merge.Ranked{ID: id, Count: r.Count})
			}
		}
		least := int64(0)
		if n := len(stored[name]); n == merge.MostTop {
			least = stored[name][n-1].Count
		}
		joined := merge.Join(kept, *list)
		if least > 0 && (len(joined) < merge.MostTop || joined[merge.MostTop-1].Count < least) {
			return merge.Top{}, false, nil
		}
		*top.Lists()[name] = joined
	}
	return top, true, nil
}
