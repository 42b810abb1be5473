package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

const (
	// MostGrouped is the maximum number of letters that Groups counts, and that one action on a group changes.
	MostGrouped = 10_000
	groupsShown = 100
)

// Group is the letters of a consumer that have the same reason.
type Group struct {
	Consumer, State, Reason string
	Letters                 int64
	Asked                   int64 // whose replay somebody has requested
	First, Last             time.Time
}

// Groups counts the first ten thousand letters by consumer, state and reason, largest group first. more reports whether there are more letters.
func Groups(ctx context.Context, on postgres.DBTX) (groups []Group, more bool, err error) {
	rows, err := db.New(on).LetterGroups(ctx, db.LetterGroupsParams{MaxLetters: MostGrouped, MaxRows: groupsShown})
	if err != nil {
		return nil, false, fmt.Errorf("group dead letters: %w", err)
	}
	var counted int64
	for _, row := range rows {
		groups = append(groups, Group{
			Consumer: row.Consumer, State: row.State, Reason: row.Reason, Letters: row.Letters, Asked: row.Asked, First: row.First, Last: row.Last,
		})
		counted += row.Letters
	}
	return groups, counted >= MostGrouped || len(rows) == groupsShown, nil
}

// LettersOf lists the letters of a group after a position, in order.
func LettersOf(ctx context.Context, on postgres.DBTX, group Group, after int64, limit int) ([]Letter, error) {
	rows, err := db.New(on).LetterPage(ctx, db.LetterPageParams{
		Consumer: group.Consumer, State: group.State, Reason: group.Reason, After: after, MaxRows: int32(limit), //nolint:gosec // A page.
	})
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	letters := make([]Letter, len(rows))
	for i, row := range rows {
		letters[i] = listed(db.LetterListRow(row))
	}
	return letters, nil
}

// ReplayGroup requests the replay of a group's letters and of the letters that wait behind them, as Replay does.
func ReplayGroup(ctx context.Context, tx pgx.Tx, group Group, who audit.Who) (int64, error) {
	positions, err := positionsOf(ctx, tx, group)
	if err != nil {
		return 0, err
	}
	return Replay(ctx, tx, group.Consumer, positions, who)
}

// DiscardGroup deletes the letters of a group, as Discard does.
func DiscardGroup(ctx context.Context, tx pgx.Tx, group Group, who audit.Who) (int64, error) {
	positions, err := positionsOf(ctx, tx, group)
	if err != nil {
		return 0, err
	}
	return Discard(ctx, tx, group.Consumer, positions, who)
}

// positionsOf returns the first positions of a group, at most ten thousand. If it returns none, the caller must not call Replay or
// Discard, which would then act on all letters.
func positionsOf(ctx context.Context, tx pgx.Tx, group Group) ([]int64, error) {
	positions, err := db.New(tx).LetterPositions(ctx, db.LetterPositionsParams{
		Consumer: group.Consumer, State: group.State, Reason: group.Reason, MaxRows: MostGrouped,
	})
	if err == nil && len(positions) == 0 {
		return nil, ErrNoLetter
	}
	if err != nil && !errors.Is(err, ErrNoLetter) {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	return positions, err
}
