// Package watermark writes watermarks into sources. A watermark is a random text that lands in the log's database, after every change that
// was committed before it, and from then on the source cannot lose it without a gap. So what was read from the source before the watermark
// was written is true as of the log, once the watermark has landed. If a source was restored before that, the watermark never lands.
//
// A watermark consists of the stream's number and a random text: 7.QJX2…. Any role may write messages into the WAL, so a stream takes only its own.
//
// Watermarks around the chunks of a snapshot are the technique of DBLog (Andreakis and Papapanagiotou, 2019).
package watermark

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"

	"github.com/daymill/daymill/internal/capture/trigger"
	"github.com/daymill/daymill/internal/capture/wal"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Stream is the stream of a watermark.
type Stream struct {
	ID   int32
	Name string
	Mode string // in which it is read
}

// Write writes a new watermark into the source of a stream.
func Write(ctx context.Context, source *postgres.DB, s Stream) (token string, err error) {
	token = prefix(s.ID) + rand.Text()
	if s.Mode == wal.Mode {
		return token, wal.Emit(ctx, source, token)
	}
	return token, trigger.Emit(ctx, source, trigger.Schema(s.Name), token)
}

func prefix(stream int32) string { return strconv.Itoa(int(stream)) + "." }

// Of returns the number of a watermark's stream.
func Of(token string) string {
	stream, _, _ := strings.Cut(token, ".")
	return stream
}

// Is reports whether a text is a watermark of a stream.
func Is(text string, stream int32) bool {
	random, is := strings.CutPrefix(text, prefix(stream))
	return is && len(random) == len(rand.Text()) && !strings.ContainsFunc(random, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '2' || r > '7') })
}

// Landed returns those of some watermarks that have landed. One that a task of a view waits for is known until the task ends, another one for a
// day.
func Landed(ctx context.Context, on postgres.DBTX, tokens []string) (landed []string, err error) {
	if landed, err = db.New(on).WatermarkLanded(ctx, tokens); err != nil {
		err = fmt.Errorf("look for watermarks: %w", err)
	}
	return landed, err
}

// Take reports whether a watermark has landed. If it has, it is not known any more afterward.
func Take(ctx context.Context, on postgres.DBTX, token string) (is bool, err error) {
	count, err := db.New(on).WatermarkTake(ctx, token)
	if err != nil {
		err = fmt.Errorf("look for a watermark: %w", err)
	}
	return count > 0, err
}
