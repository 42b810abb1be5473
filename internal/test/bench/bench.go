package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/daymill/daymill/internal/date"
)

// bench holds what scenarios share.
type bench struct {
	options

	server *server
	other  *server  // a second cluster, without logical decoding; only for capture
	env    []string // of processes of Daymill, besides DATABASE_URL
	dir    string   // for files
	meter  *meter
	proxy  *proxy
	day    *database // see large; nil until a scenario needs it
	ten    *database // see many; likewise
	firsts samples   // first rollups by Daymill, by the size of the day; for the longest statements
}

// The dates of the database that most scenarios share.
//
//	largeDate  many entities
//	fewDate    as many events, but few entities
//	pagesDate  a tenth of the events
//	tinyDate   a hundredth
func largeDate() date.Date { return date.New(2025, time.March, 3) }
func fewDate() date.Date   { return largeDate().AddDays(1) }
func pagesDate() date.Date { return largeDate().AddDays(2) }
func tinyDate() date.Date  { return largeDate().AddDays(3) }

func open(ctx context.Context, o options) (b *bench, err error) {
	b = &bench{options: o, meter: newMeter(os.Stderr), firsts: samples{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close(ctx))
		}
	}()
	if b.dir, err = os.MkdirTemp("", "daymill-bench-"); err != nil {
		return b, err
	}
	if b.binary == "" {
		b.binary = filepath.Join(b.dir, "daymill")
		// The options of `make build` are not needed for speed, and without them the build cache of the tests can be used.
		build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", b.binary, "github.com/daymill/daymill/cmd/daymill")
		if output, err := build.CombinedOutput(); err != nil {
			return b, fmt.Errorf("build Daymill: %w: %s", err, output)
		}
	}
	if b.server, err = startServer(ctx, o); err != nil {
		return b, err
	}
	if o.capture {
		if b.other, err = startOther(ctx, o); err != nil {
			return b, err
		}
	}
	b.proxy, err = listen(ctx, b.server.address())
	return b, err
}

func (b *bench) close(ctx context.Context) error {
	var err error
	if b.proxy != nil {
		err = b.proxy.close()
	}
	if b.other != nil {
		err = errors.Join(err, b.other.close(ctx))
	}
	if b.server != nil {
		err = errors.Join(err, b.server.close(ctx))
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

// large returns the database with the large day and three others. It fills the database once.
func (b *bench) large(ctx context.Context) (*database, error) {
	if b.day != nil {
		return b.day, nil
	}
	db, err := b.install(ctx, "large")
	if err != nil {
		return nil, err
	}
	err = db.fill(ctx,
		dayOf{largeDate(), b.events, b.entities}, dayOf{fewDate(), b.events, b.few},
		dayOf{pagesDate(), b.events / 10, b.entities / 10}, dayOf{tinyDate(), b.events / 100, b.entities / 100})
	if err != nil {
		return nil, err
	}
	b.day = db
	return db, nil
}

// rollup runs `daymill rollup`.
func (b *bench) rollup(ctx context.Context, url string, d date.Date, pace string) (process, error) {
	return b.daymill(ctx, url, "rollup", d.String(), "--pace", pace)
}
