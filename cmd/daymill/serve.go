package main

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// pageConnections is how many connections the pages need in addition to the worker's. Their queries are short and few.
const pageConnections = 2

type serveCmd struct {
	workerProcess
	webOptions
}

// Run runs a worker and the web server until the process is told to stop or one of the two fails. If one fails, the other stops
// too, so that the platform restarts both.
func (c *serveCmd) Run(ctx context.Context, a *app) error {
	if err := c.workerProcess.check(); err != nil {
		return err
	}
	if err := c.webOptions.check(); err != nil {
		return err
	}
	stopTracing, err := a.trace(ctx)
	if err != nil {
		return err
	}
	defer stopTracing()
	a.PoolSize = max(a.PoolSize, c.connections()+pageConnections)
	db, installation, err := a.openInstalled(ctx, "serve")
	if err != nil {
		return err
	}
	defer db.Close()
	told, err := a.telemetry(ctx, db, installation, a.logger())
	if err != nil {
		return err
	}
	defer a.alerting(ctx, db, told.metrics)()
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return c.work(ctx, a, db, installation, told) })
	both.Go(func() error { return c.serve(ctx, a, db, installation, told.metrics, c.sourceOptions) })
	return both.Wait()
}
