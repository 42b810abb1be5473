package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/ui"
)

type webCmd struct {
	Listen string `env:"DAYMILL_LISTEN" placeholder:"ADDRESS" help:"The address to listen on, as host:port; every host's $PORT where the platform sets that, else 127.0.0.1:8080."`
}

const (
	shutdownTimeout   = 10 * time.Second
	readHeaderTimeout = 5 * time.Second
)

// Run answers until the process is told to stop.
func (c *webCmd) Run(ctx context.Context, a *app) error {
	db, _, err := a.openInstalled(ctx, "web")
	if err != nil {
		return err
	}
	defer db.Close()
	logger := a.logger()
	handler := ui.Handler(func(ctx context.Context) error {
		_, err := schema.Get(ctx, db)
		if err != nil {
			logger.WarnContext(ctx, "not ready", slog.String("error", err.Error()))
		}
		return err
	})
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.address())
	if err != nil {
		return usagef("cannot listen on %s: %w; give another --listen", c.address(), err)
	}
	logger.InfoContext(ctx, "web started", slog.String("address", "http://"+listener.Addr().String()))
	return serve(ctx, listener, handler)
}

func (c *webCmd) address() string {
	if c.Listen != "" {
		return c.Listen
	}
	if port := os.Getenv("PORT"); port != "" {
		return ":" + port
	}
	return "127.0.0.1:8080"
}

// serve answers until ctx is done, and then lets requests under way finish.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: time.Minute}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		stopped <- server.Shutdown(stop)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	if err := <-stopped; err != nil {
		return fmt.Errorf("stop serving: %w", err)
	}
	return nil
}
