// Package watermark writes watermarks into sources. A watermark is a random text that lands in the log's database, after every change that
// was committed before it, and from then on the source cannot lose it without a gap. So what was read from the source before the watermark
// was written is true as of the log, once the watermark has landed. If a source was restored before that, the watermark never lands.
//
// Watermarks around the chunks of a snapshot are the technique of DBLog (Andreakis and Papapanagiotou, 2019).
package watermark

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/daymill/daymill/internal/capture/trigger"
	"github.com/daymill/daymill/internal/capture/wal"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Write writes a new watermark into the source of a stream, which is read in a mode.
func Write(ctx context.Context, source *postgres.DB, stream, mode string) (token string, err error) {
	token = rand.Text()
	if mode == wal.Mode {
		return token, wal.Emit(ctx, source, token)
	}
	return token, trigger.Emit(ctx, source, trigger.Schema(stream), token)
}

// Landed reports whether a watermark has landed. It is known for a day.
func Landed(ctx context.Context, on postgres.DBTX, token string) (is bool, err error) {
	if is, err = db.New(on).WatermarkLanded(ctx, token); err != nil {
		err = fmt.Errorf("look for a watermark: %w", err)
	}
	return is, err
}

// Take is Landed, but afterward the watermark is not known any more if it had landed.
func Take(ctx context.Context, on postgres.DBTX, token string) (is bool, err error) {
	count, err := db.New(on).WatermarkTake(ctx, token)
	if err != nil {
		err = fmt.Errorf("look for a watermark: %w", err)
	}
	return count > 0, err
}
