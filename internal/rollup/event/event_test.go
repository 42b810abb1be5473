package event

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) {
	// Each check of a property is an import. `make chaos` runs more of them.
	if err := flag.Set("rapid.checks", "50"); err != nil {
		panic(err)
	}
	flag.Parse()
	pgtest.Main(m)
}

// textOptions read files that have the columns entity_id, event_type and created_at in the default format.
func textOptions(tb testing.TB) Options {
	tb.Helper()
	return Options{
		Columns:    Columns{Entity: "entity_id", Type: "event_type", Time: "created_at"},
		EntityType: entity.Text,
		TimeFormat: format(tb, ""),
	}
}

func format(tb testing.TB, name string) TimeFormat {
	tb.Helper()
	f, err := ParseTimeFormat(name)
	require.NoError(tb, err)
	return f
}

// readAll returns a reader's result for a file: one line per row, and the final error.
func readAll(name, text string, options Options) []string {
	reader, err := NewReader(name, strings.NewReader(text), options)
	if err != nil {
		return []string{"error: " + err.Error()}
	}
	defer reader.Close()
	var lines []string
	for {
		var e Event
		var bad *RowError
		err := reader.Read(&e)
		switch {
		case err == nil:
			lines = append(lines, fmt.Sprintf("%d: %s %s %s", e.Line, options.EntityType.Format(e.Entity), e.Type,
				time.UnixMicro(e.At).UTC().Format(time.RFC3339Nano)))
		case errors.Is(err, io.EOF):
			return lines
		case errors.As(err, &bad):
			lines = append(lines, fmt.Sprintf("%d: bad: %s", bad.Line, bad.Err))
		default:
			return append(lines, "error: "+err.Error())
		}
	}
}

const header = "entity_id,event_type,created_at\n"
