package main

import (
	"context"
	"fmt"
	"strings"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// distances are round trips to Postgres in milliseconds: within a region, and across an ocean.
func distances() []int { return []int{30, 120} }

// distance rolls up the large day with longer and longer round trips. The ratios compare with no distance. The additional time is round
// trips, of which a rollup needs few.
func distance(ctx context.Context, b *bench) (Result, error) {
	db, err := b.large(ctx)
	if err != nil {
		return Result{}, err
	}
	near := b.rolls(db, largeDate(), "0", db.forget)
	contenders, names := []contender{near}, []string{near.name}
	for _, milliseconds := range distances() {
		proxy, err := b.delay(db, milliseconds)
		if err != nil {
			return Result{}, err
		}
		defer proxy.Stop()
		far := near
		far.name = fmt.Sprintf("%s, %d ms away", near.name, milliseconds)
		far.run = func(ctx context.Context, _ string) (sample, error) {
			through, err := withHost(db.url, proxy.Listen)
			if err != nil {
				return nil, err
			}
			return near.run(ctx, through)
		}
		contenders, names = append(contenders, far), append(names, far.name)
	}
	got, err := b.turns(ctx, db, nil, contenders...)
	if err != nil {
		return Result{}, err
	}
	if err := db.exact(ctx, largeDate()); err != nil {
		return Result{}, err
	}
	size, err := db.size(ctx, largeDate())
	if err != nil {
		return Result{}, err
	}
	result := Result{Notes: []string{size + ". A proxy delays each of Postgres's answers."}, Rows: got.rows(names...)}
	for i, milliseconds := range distances() {
		ratio := Ratio{
			ID:    fmt.Sprintf("distance.%d", milliseconds),
			What:  fmt.Sprintf("time with a round trip of %d ms, against that without", milliseconds),
			Value: got.ratio(wall, names[i+1], near.name),
		}
		if milliseconds == 30 {
			ratio.Target = 1.5
		}
		result.Ratios = append(result.Ratios, ratio)
	}
	return result, nil
}

// delay starts a proxy to a database, which delays each answer by a number of milliseconds.
func (b *bench) delay(db *database, milliseconds int) (*toxiproxy.Proxy, error) {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, fmt.Sprintf("%d ms", milliseconds), "127.0.0.1:0", b.proxy.to)
	if err := proxy.Start(); err != nil {
		return nil, fmt.Errorf("start a proxy to %s: %w", db.Config().ConnConfig.Database, err)
	}
	_, err := proxy.Toxics.AddToxicJson(strings.NewReader(
		fmt.Sprintf(`{"type": "latency", "stream": "downstream", "attributes": {"latency": %d}}`, milliseconds)))
	if err != nil {
		proxy.Stop()
		return nil, fmt.Errorf("delay a proxy: %w", err)
	}
	return proxy, nil
}
