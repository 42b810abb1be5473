package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/config"
	"github.com/daymill/daymill/internal/demo"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/view/definition"
)

// openShop creates a shop, starts to capture its changes, and creates a view of its orders.
func openShop(ctx context.Context, conn *postgres.DB, views *view.Engine) error {
	if err := demo.OpenShop(ctx, conn); err != nil {
		return err
	}
	err := conn.Tx(ctx, func(tx pgx.Tx) error {
		there, err := stream.Get(ctx, tx, config.App)
		if err != nil {
			return err
		}
		there.URL, there.Tables = "$DATABASE_URL", []string{demo.Shop}
		return stream.Configure(ctx, tx, there, whoOnCLI())
	})
	if err != nil {
		return err
	}
	definitions, err := definition.Parse("shop.yaml", demo.ShopView)
	if err != nil {
		return fmt.Errorf("read the demo's view: %w", err)
	}
	steps, err := views.Plan(ctx, definitions)
	if err != nil {
		return err
	}
	return views.Apply(ctx, steps, whoOnCLI())
}
