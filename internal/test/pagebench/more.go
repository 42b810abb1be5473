package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/view/definition"
)

const (
	// most is how many changes of one consumer are dead letters, and how many tasks the view has done.
	most = 20_000
	// landed is how many changes are written to the log at a time.
	landed = 5_000
	viewed = "order_report"
)

// capture writes a log of changes of a table with 1,000 keys, a consumer that refused some of them, and pictures of tables that it has asked for.
func capture(ctx context.Context, conn *postgres.DB, changes int) error {
	who := audit.Who{Actor: "pagebench"}
	err := conn.Tx(ctx, func(tx pgx.Tx) error {
		err := stream.Configure(ctx, tx, stream.Config{Name: definition.App, URL: "$DATABASE_URL", Tables: []string{"public.orders"}}, who)
		if err != nil {
			return err
		}
		settings := json.RawMessage(`{"url": "$EVENTS_URL"}`)
		return consumer.Create(ctx, tx, consumer.Consumer{Name: "events", Stream: definition.App, Kind: "webhook", Shards: 8, Settings: settings}, 0, who)
	})
	if err != nil {
		return err
	}
	writer, err := log.Take(ctx, log.Config{DB: conn, Stream: definition.App, Owner: "worker 1"})
	if err != nil {
		return err
	}
	at := time.Now().Add(-time.Hour) //nolint:forbidigo // The history ends today.
	for done := 0; done < changes; done += landed {
		list := make([]change.Change, min(landed, changes-done))
		for i := range list {
			n := done + i + 1
			list[i] = change.Change{
				Op: change.Update, Schema: "public", Table: "orders", Key: json.RawMessage(fmt.Sprintf(`{"id": %d}`, n%1000)),
				Old: json.RawMessage(fmt.Sprintf(`{"id": %d, "state": 1}`, n%1000)), New: json.RawMessage(fmt.Sprintf(`{"id": %d, "state": %d}`, n%1000, n)),
				XID: int64(n), LSN: "0/1A2B3C8", Ordinal: 1, CommittedAt: at, SchemaVersion: 1,
			}
		}
		if err := writer.Land(ctx, list, log.Mark{LSN: "0/1A2B3C8", CommittedAt: at}); err != nil {
			return err
		}
	}
	for _, sql := range []string{
		`INSERT INTO capture.letter (consumer, shard, position, key_hash, key, change, state, reason, answer)
			SELECT 'events', 0, l.position, sha256(l.key::text::bytea), l.key::text,
				json_build_object('position', l.position, 'stream', 'app', 'op', l.op, 'schema', l.schema_name, 'table', l.table_name, 'key', l.key, 'new', l.new),
				CASE l.position % 2 WHEN 0 THEN 'refused' ELSE 'waiting' END, 'it answered ' || 400 + l.position % 7, '<html>no</html>'
			FROM capture.log AS l WHERE l.position <= $1`,
		`INSERT INTO capture.snapshot (stream_id, schema_name, table_name, state)
			SELECT s.id, 'public', 'orders_' || i, 'waiting' FROM capture.stream AS s CROSS JOIN generate_series(1, least($1, 100)) AS i`,
	} {
		if _, err := conn.Exec(ctx, sql, most); err != nil {
			return err
		}
	}
	return nil
}

// views applies and builds a view of two tables, and writes a history of tasks and drift.
func views(ctx context.Context, conn *postgres.DB, engine *view.Engine, rows int) error {
	for _, sql := range []string{
		"CREATE TABLE public.customers (id bigint PRIMARY KEY, name text NOT NULL)",
		"CREATE TABLE public.orders (id bigint PRIMARY KEY, customer_id bigint REFERENCES public.customers, state integer)",
		"CREATE INDEX ON public.orders (customer_id)",
		"INSERT INTO public.customers SELECT i, 'customer ' || i FROM generate_series(1, 1000) AS i",
		fmt.Sprintf("INSERT INTO public.orders SELECT i, 1 + i %% 1000, i %% 3 FROM generate_series(1, %d) AS i", rows),
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	definitions, err := definition.Parse("pagebench", []byte(`
name: `+viewed+`
schedule: {}
search: {columns: [name]}
tables:
  - {table: orders, columns: [id, customer_id, state]}
  - {table: customers, columns: [name], left: true, join: {customer_id: id}}`))
	if err != nil {
		return err
	}
	steps, err := engine.Plan(ctx, definitions)
	if err != nil {
		return err
	}
	if err := engine.Apply(ctx, steps, audit.Who{Actor: "pagebench"}); err != nil {
		return err
	}
	for {
		due, err := engine.Due(ctx)
		if err != nil {
			return err
		}
		if len(due) == 0 {
			break
		}
		for _, id := range due {
			if _, err := engine.Work(ctx, id); err != nil {
				return err
			}
		}
	}
	for _, sql := range []string{
		`INSERT INTO view.task (view_id, kind, state, done, total, actor, created_at, finished_at)
			SELECT v.id, 'refresh', 'done', 10, 10, 'admin', now() - i * interval '1 minute', now() FROM view.view AS v CROSS JOIN generate_series(1, $1) AS i`,
		`INSERT INTO view.drift (view_id, kind, table_index, column_number, sentence, state)
			SELECT v.id, 'added', 0, i, 'column c' || i || ' of orders is new', 'accepted' FROM view.view AS v CROSS JOIN generate_series(1, least($1, 500)) AS i`,
	} {
		if _, err := conn.Exec(ctx, sql, most); err != nil {
			return err
		}
	}
	return nil
}

// archived writes what the page of the archive reads: segments of some days, bases and proofs.
func archived(ctx context.Context, place *store.Store, segments int) error {
	position := func(n int) string { return fmt.Sprintf("%08X/%08X", n, 0) }
	at := time.Now().Add(-time.Duration(segments) * time.Minute) //nolint:forbidigo // The history ends today.
	if err := chain.WriteManifest(ctx, place, chain.Manifest{Format: chain.Format, Database: "app", Slot: "daymill_archive", From: position(0), CreatedAt: at}); err != nil {
		return err
	}
	for i := range 10 {
		if err := chain.AddBase(ctx, place, chain.Base{Position: position(i), At: at, Reason: "somebody asked for it", Files: []store.File{{Bytes: 1 << 30}}}); err != nil {
			return err
		}
		if err := chain.AddProof(ctx, place, chain.Proof{Position: position(i), At: at.Add(time.Duration(i) * time.Minute), Tables: 10, Rows: 1_000_000}); err != nil {
			return err
		}
	}
	for i := range segments {
		seal := segment.Seal{
			From: position(i), To: position(i + 1), Transactions: 1000, LastCommit: at.Add(time.Duration(i) * time.Minute), File: store.File{Bytes: 16 << 20},
		}
		if err := place.PutJSON(ctx, segment.Name(seal.From)+".json", seal); err != nil {
			return err
		}
	}
	return nil
}
