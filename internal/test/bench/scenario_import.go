package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
)

// importCSV compares the import of a file with psql's \copy of the same file, into the same table with its index.
func importCSV(ctx context.Context, b *bench) (Result, error) {
	if b.server.psql == "" {
		return Result{Notes: []string{"Not measured: there is no psql beside the server's programs."}}, nil
	}
	db, err := b.install(ctx, "import")
	if err != nil {
		return Result{}, err
	}
	b.meter.say("write the file")
	dates := []date.Date{largeDate(), largeDate().AddDays(1)}
	if err := db.fill(ctx, dayOf{dates[0], b.rows / 2, b.rows / 8}, dayOf{dates[1], b.rows / 2, b.rows / 8}); err != nil {
		return Result{}, err
	}
	path := filepath.Join(b.dir, "events.csv")
	bytes, err := db.writeCSV(ctx, path)
	if err != nil {
		return Result{}, err
	}
	const imported, copied = "`daymill import`", "`\\copy` by psql"
	events := pgx.Identifier{"public", "raw_events"}
	fresh := func(ctx context.Context) error {
		return db.exec(ctx, "TRUNCATE public.raw_events, analytics.rollup_requests")
	}
	got, err := b.turns(ctx, db, nil,
		contender{name: copied, table: events, prepare: fresh, run: func(ctx context.Context, url string) (sample, error) {
			cmd := exec.CommandContext(ctx, b.server.psql, "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", url,
				"--command", `\copy public.raw_events (entity_id, event_type, created_at) FROM '`+path+`' WITH (FORMAT csv, HEADER)`)
			output, err := cmd.CombinedOutput()
			if err != nil {
				return nil, fmt.Errorf("psql: %w: %s", err, output)
			}
			return sample{}.with(peakMemory(cmd.ProcessState)), nil
		}},
		contender{name: imported, table: events, prepare: fresh, run: func(ctx context.Context, url string) (sample, error) {
			p, err := b.daymill(ctx, url, "import", path)
			return sample{}.with(p.memory), err
		}})
	if err != nil {
		return Result{}, err
	}
	var there int
	if err := db.QueryRow(ctx, "SELECT count(*) FROM public.raw_events").Scan(&there); err != nil {
		return Result{}, err
	}
	if want := b.rows / 2 * 2; there != want {
		return Result{}, fmt.Errorf("the table has %d rows, not %d", there, want)
	}
	if _, err := b.daymill(ctx, db.url, "rollup", date.Range{First: dates[0], Last: dates[1]}.String(), "--pace", "0"); err != nil {
		return Result{}, err
	}
	if err := db.exact(ctx, dates...); err != nil {
		return Result{}, err
	}
	return Result{
		Notes: []string{fmt.Sprintf("%s rows, %d MiB, into a table with its primary key and the index on the instant.", thousands(int64(b.rows)), bytes>>20)},
		Rows:  got.rows(imported, copied),
		Ratios: []Ratio{
			{ID: "import.speed", What: "speed of the import, against psql's", Value: got.ratio(wall, copied, imported), Target: 0.5, AtLeast: true},
		},
	}, nil
}

// writeCSV writes all events to a file, and returns its size.
func (db *database) writeCSV(ctx context.Context, path string) (int64, error) {
	file, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	conn, err := db.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	_, err = conn.Conn().PgConn().CopyTo(ctx, file, `COPY (SELECT entity_id, event_type, created_at FROM public.raw_events ORDER BY id)
		TO STDOUT WITH (FORMAT csv, HEADER)`)
	if err != nil {
		return 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), file.Close()
}
