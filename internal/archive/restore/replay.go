package restore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/segment"
)

// replay runs the transactions after the base, up to the target. Each transaction also records that it has run.
func (r *restoration) replay(ctx context.Context) error {
	return run(ctx, &r.config, func(writer io.Writer) error {
		to := &joined{to: writer}
		r.here = r.chain.Manifest.From
		for _, seal := range r.chain.After(r.base) {
			if r.over || seal.To <= r.position {
				continue
			}
			r.progress(path.Base(seal.File.Name))
			text, err := r.config.Codec.Text(ctx, r.config.Store, seal.File.Name)
			if err != nil {
				return err
			}
			err = r.segment(text, to)
			if _ = text.Close(); err != nil {
				return fmt.Errorf("restore %s: %w", seal.File.Name, err)
			}
		}
		if err := r.open(to); err != nil {
			return err
		}
		if err := to.flush(); err != nil {
			return err
		}
		_, err := io.WriteString(writer, base.EndSQL)
		return err
	})
}

// open replays the unsealed segment, whose last transaction may be incomplete.
func (r *restoration) open(to *joined) error {
	if r.chain.Open == "" || r.over {
		return nil
	}
	file, err := os.Open(r.chain.OpenPath())
	if err != nil {
		return fmt.Errorf("open a segment: %w", err)
	}
	defer file.Close()
	size, _, _ := segment.Whole(r.chain.OpenPath())
	r.progress(path.Base(r.chain.OpenPath()))
	return r.segment(io.LimitReader(file, size), to)
}

func (r *restoration) segment(from io.Reader, out *joined) error {
	inside, skip := false, false
	var last time.Time
	return segment.Scan(from, func(line segment.Line) error {
		before := ""
		switch line.Kind {
		case segment.Begin:
			target := r.config.Target
			r.over = r.over || !target.Time.IsZero() && line.Time.After(target.Time) || target.LSN != 0 && line.LSN >= target.LSN
			r.here, inside, last = segment.LSN(line.LSN), true, line.Time
			skip = r.over || r.here < r.position
		case segment.Commit:
			r.here = segment.LSN(line.LSN)
			if !skip {
				before = "UPDATE daymill_restore.restore SET position = '" + r.here + "', at = '" + last.Format(time.RFC3339Nano) + "';\n"
				r.result.Transactions++
				r.result.To, r.result.LastCommit = r.here, last
			}
		case segment.Place:
			r.here = segment.LSN(line.LSN)
		case segment.Other, segment.End:
		}
		whole := inside
		inside = inside && line.Kind != segment.Commit
		switch {
		case whole && skip:
			return nil
		// Later values of sequences are not left out, because a sequence must not be behind. Earlier values would be.
		case !whole && (r.here < r.position || !bytes.HasPrefix(line.Text, []byte("SELECT setval("))):
			return nil
		}
		if before != "" {
			if err := out.statement([]byte(before)); err != nil {
				return err
			}
		}
		switch {
		case line.Kind == segment.Begin:
			return out.statement([]byte("BEGIN;\n"))
		case line.Kind == segment.Commit:
			return out.statement([]byte("COMMIT;\n"))
		case !line.Inside && changesRow(line.Text):
			return out.statement(line.Text)
		}
		return out.line(line.Text)
	})
}
