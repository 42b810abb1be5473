package main

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
)

// pageEntities is how many entities a page has.
const pageEntities = 2_000

// nextPageSQL finds the last entity of the page after an entity, by reading the day.
func nextPageSQL(d date.Date) string {
	return `SELECT max(entity_id::text)::uuid FROM (
    SELECT DISTINCT entity_id FROM raw_events WHERE ` + within(d) + ` AND entity_id > $1 ORDER BY 1 LIMIT $2
) AS page`
}

// paged returns a contender that handles the day in pages. Each page reads the whole day twice: to find its entities, and to count them.
func paged(d date.Date, prepare func(ctx context.Context) error) contender {
	return contender{
		name: ofPages, table: oneTable(), prepare: prepare,
		run: func(ctx context.Context, url string) (sample, error) {
			conn, err := pgx.Connect(ctx, url)
			if err != nil {
				return nil, err
			}
			defer conn.Close(context.WithoutCancel(ctx))
			after, most := "00000000-0000-0000-0000-000000000000", 0.0
			for {
				began := now()
				var last *string
				if err := conn.QueryRow(ctx, nextPageSQL(d), after, pageEntities).Scan(&last); err != nil {
					return nil, err
				}
				most = max(most, milliseconds(now().Sub(began)))
				if last == nil {
					return sample{lasted: most}, nil
				}
				began = now()
				condition := within(d) + " AND entity_id > '" + after + "' AND entity_id <= '" + *last + "'"
				if _, err := conn.Exec(ctx, statementSQL(d, condition), pgx.QueryExecModeSimpleProtocol); err != nil {
					return nil, err
				}
				most = max(most, milliseconds(now().Sub(began)))
				after = *last
			}
		},
	}
}

func pages(ctx context.Context, b *bench) (Result, error) {
	db, err := b.large(ctx)
	if err != nil {
		return Result{}, err
	}
	got, err := b.turns(ctx, db, nil,
		b.rolls(db, pagesDate(), "0", db.forget),
		paged(pagesDate(), func(ctx context.Context) error { return db.exec(ctx, "TRUNCATE public.one") }))
	if err != nil {
		return Result{}, err
	}
	if err := db.exact(ctx, pagesDate()); err != nil {
		return Result{}, err
	}
	if err := db.same(ctx, pagesDate()); err != nil {
		return Result{}, err
	}
	size, err := db.size(ctx, pagesDate())
	return Result{
		Notes: []string{size + ", " + thousands(pageEntities) + " entities a page. The day is small, because the cost of pages grows with the square of its size."},
		Rows:  got.rows(ofDaymill, ofPages),
		Ratios: []Ratio{
			{ID: "pages.time", What: "time, against the pages'", Value: got.ratio(wall, ofDaymill, ofPages)},
			{ID: "pages.read", What: "longest statement, against the pages'", Value: got.ratio(lasted, ofDaymill, ofPages)},
		},
	}, err
}
