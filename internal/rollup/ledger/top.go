package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Top has the entities with the largest counts of a date, the largest first, by the name of the count: events (all of
// them), views, clicks, saves and skips.
type Top map[string][]Ranked

// Ranked is an entity and a count of it.
type Ranked struct {
	ID    string `json:"id"` // as the application writes it
	Count int64  `json:"count"`
}

// ReadTop returns the largest entities of a date, as its last complete run has recorded them; nil where it has not.
func ReadTop(ctx context.Context, on postgres.DBTX, of date.Date) (Top, error) {
	text, err := db.New(on).TopGet(ctx, of)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // None is recorded.
	}
	if err != nil {
		return nil, fmt.Errorf("read the date's top entities: %w", err)
	}
	var top Top
	if err := json.Unmarshal(text, &top); err != nil {
		return nil, fmt.Errorf("read the date's top entities: %w", err)
	}
	return top, nil
}
