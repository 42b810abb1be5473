package demo

import (
	"context"
	_ "embed" // The definition.
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
)

// Shop is the schema of a small shop whose changes are captured.
const Shop = "shop"

// ShopView has the definitions of two views: of the shop's orders, and of its products, with full-text search.
//
//go:embed shop.yaml
var ShopView []byte

const shopSQL = `
CREATE SCHEMA IF NOT EXISTS shop;
CREATE TABLE IF NOT EXISTS shop.customers (id integer PRIMARY KEY, name text NOT NULL, city text NOT NULL);
CREATE TABLE IF NOT EXISTS shop.orders (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	customer_id integer NOT NULL REFERENCES shop.customers,
	state integer NOT NULL DEFAULT 0,
	total numeric(8, 2) NOT NULL,
	placed_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS shop.categories (id integer PRIMARY KEY, name text NOT NULL);
CREATE TABLE IF NOT EXISTS shop.products (
	id integer PRIMARY KEY,
	category_id integer NOT NULL REFERENCES shop.categories,
	name text NOT NULL,
	description text NOT NULL,
	price numeric(8, 2) NOT NULL
);
CREATE INDEX IF NOT EXISTS products_category_id ON shop.products (category_id);
INSERT INTO shop.categories VALUES (0, 'Kitchen'), (1, 'Garden'), (2, 'Travel') ON CONFLICT DO NOTHING;
INSERT INTO shop.products (id, category_id, name, description, price)
SELECT n, n % 3, (ARRAY['copper', 'linen', 'oak', 'enamel', 'woollen', 'folding', 'striped'])[1 + n % 7] || ' ' ||
	(ARRAY[ARRAY['kettle', 'apron', 'board', 'ladle'], ARRAY['watering can', 'glove', 'trowel', 'bench'], ARRAY['blanket', 'bag', 'lantern', 'chair']])[1 + n % 3][1 + n / 3 % 4],
	(ARRAY['made to last', 'washes well', 'dries within an hour', 'fits every drawer', 'carried easily'])[1 + n % 5] || ', ' ||
	(ARRAY['a gift for gardeners', 'loved by cooks', 'for long journeys', 'for small rooms'])[1 + n % 4], n % 80 + 4.5
FROM generate_series(1, 420) AS n ON CONFLICT DO NOTHING;
INSERT INTO shop.customers (id, name, city)
SELECT n, (ARRAY['Ada', 'Grace', 'Edgar', 'Barbara', 'Leslie'])[1 + n % 5] || ' ' || n, (ARRAY['Porto', 'Lyon', 'Graz', 'Oslo'])[1 + n % 4]
FROM generate_series(1, 200) AS n ON CONFLICT DO NOTHING;
INSERT INTO shop.orders (customer_id, state, total, placed_at)
SELECT 1 + n % 200, 2, n % 90 + 0.5, now() - n * interval '17 minutes' FROM generate_series(1, 2000) AS n`

// OpenShop creates the shop.
func OpenShop(ctx context.Context, conn *postgres.DB) error {
	if _, err := conn.Exec(ctx, shopSQL); err != nil {
		return fmt.Errorf("open the shop: %w", err)
	}
	return nil
}

// sellEvery is how often Sell changes orders.
const sellEvery = 2 * time.Second

// Sell inserts orders and updates others until ctx is done.
func Sell(ctx context.Context, conn *postgres.DB, clock pace.Clock) error {
	for clock.Sleep(ctx, sellEvery) == nil {
		_, err := conn.Exec(ctx, `
			WITH moved AS (
				UPDATE shop.orders SET state = state + 1
				WHERE id IN (SELECT id FROM shop.orders WHERE state < 2 ORDER BY random() LIMIT 2)
			)
			INSERT INTO shop.orders (customer_id, total) SELECT 1 + floor(random() * 200), round((random() * 90)::numeric, 2)`)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("sell: %w", err)
		}
	}
	return nil
}
