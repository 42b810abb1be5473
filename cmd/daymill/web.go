package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/label"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/ui"
	"github.com/daymill/daymill/ui/door"
)

type webCmd struct {
	webOptions
	sourceOptions
}

// webOptions holds the options of a process that serves pages.
type webOptions struct {
	metricsOptions
	loginOptions

	Listen         string `env:"DAYMILL_LISTEN" placeholder:"ADDRESS" help:"The address to listen on, as host:port; all interfaces and $PORT if the platform sets it, otherwise 127.0.0.1:8080. Without a password, only loopback addresses are allowed."`
	BasePath       string `env:"DAYMILL_BASE_PATH" placeholder:"PATH" help:"The path below which a proxy serves the pages, such as /daymill."`
	AdminPassword  string `env:"DAYMILL_ADMIN_PASSWORD" placeholder:"SECRET" help:"The password of user admin, who may do everything. Set it in the environment: other users can see the command line."`
	ViewerPassword string `env:"DAYMILL_VIEWER_PASSWORD" placeholder:"SECRET" help:"The password of user viewer, who can read but change nothing."`
	APIToken       string `name:"api-token" env:"DAYMILL_API_TOKEN" placeholder:"SECRET" help:"The bearer token of the API."`
	EraseToken     string `env:"DAYMILL_ERASE_TOKEN" placeholder:"SECRET" help:"The bearer token of the API that may also erase metrics whose events no longer exist."`
	EntityLabelSQL string `name:"entity-label-sql" env:"DAYMILL_ENTITY_LABEL_SQL" placeholder:"SELECT" help:"A SELECT of two columns, an entity's id and its name, whose parameter is the array of the ids of a page: SELECT id, name FROM app.products WHERE id = ANY($1). It runs read-only with a time limit, with the rights of this process."`
	EntityURL      string `name:"entity-url" env:"DAYMILL_ENTITY_URL" placeholder:"URL" help:"The address of an entity in your application, with {id} in it: https://shop.example/products/{id}."`
	CronSecret     string `env:"CRON_SECRET" placeholder:"SECRET" help:"The bearer token of schedulers that call /api/cron/daily-rollup."`
}

// limits bounds the time and size of requests: clients that are slower or send more are disconnected.
type limits struct {
	read    time.Duration // to send a request with its headers and body
	write   time.Duration // from the end of the headers until the client has read the response
	idle    time.Duration // between two requests of a connection
	stop    time.Duration // to finish requests when the process is told to stop
	headers int           // the most bytes of headers
}

// serverLimits returns the limits of every HTTP server of Daymill. Each page limits its own time as well.
func serverLimits() limits {
	return limits{read: 15 * time.Second, write: time.Minute, idle: time.Minute, stop: 10 * time.Second, headers: 64 << 10}
}

// Run serves requests until the process is told to stop.
func (c *webCmd) Run(ctx context.Context, a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	db, installation, err := a.openInstalled(ctx, "web")
	if err != nil {
		return err
	}
	defer db.Close()
	archive, err := a.archive(ctx)
	if err != nil {
		return err
	}
	metrics, err := newMetrics(db, installation, a.logger(), a.clock(), archive)
	if err != nil {
		return err
	}
	defer a.alerting(ctx, db, metrics)()
	return c.serve(ctx, a, db, installation, metrics, c.sourceOptions)
}

// basePathPattern matches paths that browsers and proxies do not rewrite. It excludes //, after which a browser expects a host.
var basePathPattern = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$`)

func (o *webOptions) check() error {
	o.BasePath = strings.TrimRight(o.BasePath, "/")
	if err := o.loginOptions.check(); err != nil {
		return err
	}
	if err := checkAddress("--listen", o.Listen); err != nil {
		return err
	}
	switch {
	case o.BasePath != "" && !basePathPattern.MatchString(o.BasePath):
		return usagef("--base-path is %q: give a path of letters, digits and - _ . ~ between single slashes, such as /daymill", o.BasePath)
	case o.Listen != "" && o.access().Open() && !loopback(o.Listen):
		return usagef("without a password only this machine may open the pages, but other machines can reach %s: "+
			"set DAYMILL_ADMIN_PASSWORD, or listen on 127.0.0.1", o.Listen)
	}
	if _, err := o.access().Check(); err != nil {
		return usageError{err}
	}
	if err := o.labels().Check(); err != nil {
		return usageError{err}
	}
	return nil
}

// labels returns where names and links of entities come from.
func (o *webOptions) labels() label.Source {
	return label.Source{SQL: o.EntityLabelSQL, URL: o.EntityURL}
}

func (o *webOptions) access() door.Access {
	return door.Access{
		AdminPassword: o.AdminPassword, ViewerPassword: o.ViewerPassword, APIToken: o.APIToken, EraseToken: o.EraseToken, CronSecret: o.CronSecret,
		MetricsToken: o.MetricsToken, Accounts: o.accounts, OIDC: o.provider,
	}
}

// serve serves requests until ctx is done.
func (o *webOptions) serve(
	ctx context.Context, a *app, db *postgres.DB, installation schema.Installation, metrics *metrics, source sourceOptions,
) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.address())
	if err != nil {
		return usagef("cannot listen on %s: %w; give another --listen", o.address(), err)
	}
	logger := a.logger()
	logger.InfoContext(ctx, "web started", slog.String("address", "http://"+listener.Addr().String()+o.BasePath+"/"))
	switch {
	case o.access().Open() && o.Listen == "" && os.Getenv("PORT") != "":
		logger.WarnContext(ctx, "no password is set, so only this machine can see the pages, and the platform's router "+
			"does not reach them: set DAYMILL_ADMIN_PASSWORD")
	case o.access().Open():
		logger.WarnContext(ctx, "no password is set, so only this machine can see the pages: set DAYMILL_ADMIN_PASSWORD")
	}
	return o.serveOn(ctx, a, db, installation, listener, metrics, source)
}

// serveOn serves requests on a listener until ctx is done. It also serves metrics, unless they are nil.
func (o *webOptions) serveOn(
	ctx context.Context, a *app, db *postgres.DB, installation schema.Installation, listener net.Listener, metrics *metrics,
	source sourceOptions,
) error {
	admin, err := worker.NewAdmin(db, installation)
	if err != nil {
		return err
	}
	logger := a.logger()
	listeners := telemetry.Listeners{telemetry.Log{Logger: logger}}
	if metrics != nil {
		listeners = metrics.access
	}
	warnings, err := o.access().Check()
	if err != nil {
		return usageError{err}
	}
	for _, warning := range warnings {
		logger.WarnContext(ctx, "a secret is weak", slog.String("why", warning))
	}
	archive, err := a.archive(ctx)
	if err != nil {
		return err
	}
	key, err := sessionKey(ctx, db)
	if err != nil {
		return err
	}
	databases := a.databases(db, nil)
	defer databases.Close()
	handler := ui.Handler(ui.Config{
		Archive: archive,
		Labels:  o.labels(),
		Views:   &view.Engine{DB: db, Databases: databases, Clock: a.testClock},
		DB:      db, Installation: installation, Jobs: admin, Logger: logger, Clock: a.clock(),
		Alerts: a.keeper(db, metrics), Access: o.access(), SessionKey: key, Listeners: listeners, BasePath: o.BasePath, Metrics: metrics.handler(), Doctor: a.examiner(db, source),
		Ready: func(ctx context.Context) error {
			_, err := schema.Get(ctx, db)
			if err != nil {
				logger.WarnContext(ctx, "not ready", slog.String("error", err.Error()))
			}
			return err
		},
	})
	go a.serverClock.Keep(ctx, db)
	return serve(ctx, listener, handler, serverLimits())
}

func (o *webOptions) address() string {
	port := os.Getenv("PORT")
	switch {
	case o.Listen != "":
		return o.Listen
	case port != "" && o.access().Open():
		return "127.0.0.1:" + port
	case port != "":
		return ":" + port
	default:
		return "127.0.0.1:8080"
	}
}

// checkAddress checks the form of an option with an address to listen on.
func checkAddress(option, address string) error {
	if address == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return usagef("%s is %q: write it as host:port, such as 127.0.0.1:8080", option, address)
	}
	return nil
}

// loopback reports whether only this machine can reach an address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// serve serves requests until ctx is done, and then waits for the current requests to finish.
func serve(ctx context.Context, listener net.Listener, handler http.Handler, within limits) error {
	server := &http.Server{
		Handler: handler, ReadTimeout: within.read, WriteTimeout: within.write, IdleTimeout: within.idle,
		MaxHeaderBytes: within.headers,
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), within.stop)
		defer cancel()
		stopped <- server.Shutdown(stop)
	}()
	if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	err := <-stopped
	if errors.Is(err, context.DeadlineExceeded) { // A platform waits only 30 s, and a client could keep its request open without end.
		err = server.Close()
	}
	if err != nil {
		return fmt.Errorf("stop serving: %w", err)
	}
	return nil
}
