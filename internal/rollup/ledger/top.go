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

// Top maps the name of a count (events, which counts all of them, views, clicks, saves or skips) to the entities of a date with the
// highest counts, highest first.
type Top map[string][]Ranked

// Ranked is an entity and its count.
type Ranked struct {
	ID    string `json:"id"` // as the application writes it
	Count int64  `json:"count"`
}

// ReadTop returns the top entities that a date's last complete run has recorded, or nil if it recorded none.
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
