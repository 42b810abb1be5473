package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// States of a letter.
const (
	Refused = "refused" // the consumer refuses it permanently
	Waiting = "waiting" // it waits behind a refused change of its key
)

// Letter is a change that a consumer did not accept.
type Letter struct {
	Consumer  string
	Position  int64
	Key       string
	State     string
	Reason    string
	Answer    string // what the sink answered; only from GetLetter
	Attempts  int
	CreatedAt time.Time
	ReplayAt  *time.Time    // when somebody requested its replay; nil if nobody has
	Change    change.Change // only from GetLetter
}

// Letters lists dead letters after a position, at most a thousand: those of a consumer, or of all consumers if the name is empty.
func Letters(ctx context.Context, on postgres.DBTX, consumer string, after int64) ([]Letter, error) {
	rows, err := db.New(on).LetterList(ctx, db.LetterListParams{Consumer: consumer, After: after, MaxRows: maxList})
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	letters := make([]Letter, len(rows))
	for i, row := range rows {
		letters[i] = listed(row)
	}
	return letters, nil
}

func listed(row db.LetterListRow) Letter {
	return Letter{
		Consumer: row.Consumer, Position: row.Position, Key: row.Key, State: row.State, Reason: row.Reason,
		Attempts: int(row.Attempts), CreatedAt: row.CreatedAt, ReplayAt: row.ReplayAt,
	}
}

// GetLetter returns a dead letter with its change and the sink's answer, or ErrNoLetter.
func GetLetter(ctx context.Context, on postgres.DBTX, consumer string, position int64) (Letter, error) {
	row, err := db.New(on).LetterGet(ctx, db.LetterGetParams{Consumer: consumer, Position: position})
	if errors.Is(err, pgx.ErrNoRows) {
		return Letter{}, ErrNoLetter
	}
	if err != nil {
		return Letter{}, fmt.Errorf("read the dead letter: %w", err)
	}
	letter := Letter{
		Consumer: row.Consumer, Position: row.Position, Key: row.Key, State: row.State, Reason: row.Reason, Answer: row.Answer,
		Attempts: int(row.Attempts), CreatedAt: row.CreatedAt, ReplayAt: row.ReplayAt,
	}
	if err := json.Unmarshal([]byte(row.Change), &letter.Change); err != nil {
		return Letter{}, fmt.Errorf("read the dead letter: %w", err)
	}
	return letter, nil
}

// Replay requests that letters are delivered again, in order: those of the keys at the given positions, or of all keys if no positions
// are given. The shard's job delivers them. Replay returns the number of letters.
func Replay(ctx context.Context, tx pgx.Tx, consumer string, positions []int64, who audit.Who) (int64, error) {
	if positions == nil {
		positions = []int64{}
	}
	queries := db.New(tx)
	// End running turns: a batch that is being delivered may add letters to a key, which would not be replayed.
	if _, err := queries.ShardFence(ctx, consumer); err != nil {
		return 0, fmt.Errorf("replay dead letters of %s: %w", consumer, err)
	}
	count, err := queries.LetterAsk(ctx, db.LetterAskParams{Consumer: consumer, Positions: positions})
	return count, asked(ctx, tx, count, err, audit.Entry{Who: who, Action: "replay dead letters", Target: consumer}, positions)
}

// Discard deletes the letters at the given positions, or all letters of a consumer if no positions are given. It requests the replay of
// letters that waited behind them, unless another refused change of their key remains. Discard returns the number of deleted letters.
func Discard(ctx context.Context, tx pgx.Tx, consumer string, positions []int64, who audit.Who) (int64, error) {
	queries := db.New(tx)
	// End running turns: a running batch may rely on a key being parked.
	if _, err := queries.ShardFence(ctx, consumer); err != nil {
		return 0, fmt.Errorf("discard dead letters of %s: %w", consumer, err)
	}
	var count int64
	var err error
	if len(positions) == 0 {
		count, err = queries.LetterDiscardAll(ctx, consumer)
	} else {
		var keys [][]byte
		keys, err = queries.LetterDiscard(ctx, db.LetterDiscardParams{Consumer: consumer, Positions: positions})
		if count = int64(len(keys)); err == nil {
			err = queries.LetterRelease(ctx, db.LetterReleaseParams{Consumer: consumer, KeyHashes: keys})
		}
	}
	return count, asked(ctx, tx, count, err, audit.Entry{Who: who, Action: "discard dead letters", Target: consumer}, positions)
}

func asked(ctx context.Context, tx pgx.Tx, count int64, err error, entry audit.Entry, positions []int64) error {
	switch {
	case err != nil:
		return fmt.Errorf("%s of %s: %w", entry.Action, entry.Target, err)
	case count == 0:
		return ErrNoLetter
	}
	entry.Detail = map[string]any{"letters": count}
	if len(positions) > 0 {
		entry.Detail["positions"] = positions[:min(len(positions), 100)]
	}
	return audit.Record(ctx, tx, entry)
}
