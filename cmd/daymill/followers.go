package main

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/replay"
)

// sourceOptions holds the option that says where events are read, for verbs that only check it and for runs.
type sourceOptions struct {
	SourceURL []string `name:"source-url" env:"DAYMILL_SOURCE_URL" sep:"none" placeholder:"URL" help:"A follower of the database to read events from; each run waits until it has replayed everything that was committed when the run began. Give several, separated by commas or by repeating the option, and each run reads from the first of them that has everything."`
}

// anotherURL matches a comma between two URLs. A URL may itself have several hosts, with commas between them.
var anotherURL = regexp.MustCompile(`,\s*(postgres(?:ql)?://)`)

// urls returns the URLs of the followers.
func (o sourceOptions) urls() []string {
	var all []string
	for _, value := range o.SourceURL {
		for one := range strings.SplitSeq(anotherURL.ReplaceAllString(value, "\n$1"), "\n") {
			if one = strings.TrimSpace(one); one != "" {
				all = append(all, one)
			}
		}
	}
	return all
}

// openers returns functions that open the followers.
func (o sourceOptions) openers(a *app, verb string) []replay.Open {
	urls := o.urls()
	all := make([]replay.Open, 0, len(urls))
	for _, url := range urls {
		all = append(all, func(ctx context.Context) (*postgres.DB, error) {
			return postgres.Open(ctx, postgres.Config{
				URL: url, ApplicationName: "daymill " + verb + " source", PoolSize: a.PoolSize, Pooler: a.Pooler, Tracer: a.queryTracer(),
			})
		})
	}
	return all
}

// open returns where to read events: db itself, a follower, or several. It fails if the only follower cannot be opened, or none of
// several; one that is down is opened when it is back. The caller calls closeAll.
func (o sourceOptions) open(ctx context.Context, a *app, db *postgres.DB, verb string) (events postgres.Source, closeAll func(), err error) {
	open := o.openers(a, verb)
	switch len(open) {
	case 0:
		return db, func() {}, nil
	case 1:
		follower, err := open[0](ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("open source: %w", err)
		}
		return follower, follower.Close, nil
	}
	followers := replay.NewFollowers(db, a.clock(), open)
	errs := followers.Open(ctx)
	if len(errs) == len(open) {
		followers.Close()
		return nil, nil, fmt.Errorf("open source: %w", errs[0])
	}
	for _, err := range errs {
		a.logger().WarnContext(ctx, "a follower cannot be opened: events are read from the others", slog.String("error", err.Error()))
	}
	return followers, followers.Close, nil
}

// examined opens all followers for the doctor, who says what is wrong with those that cannot be opened.
func (o sourceOptions) examined(ctx context.Context, a *app) (all []doctor.Follower, closeAll func()) {
	open := o.openers(a, "doctor")
	all = make([]doctor.Follower, len(open))
	var group errgroup.Group
	for i, one := range open {
		group.Go(func() error {
			all[i].DB, all[i].Err = one(ctx)
			return nil
		})
	}
	_ = group.Wait() // No function returns an error.
	return all, func() {
		for _, follower := range all {
			if follower.DB != nil {
				follower.DB.Close()
			}
		}
	}
}
