package worker_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/worker"
)

// TestDeliver_Changed: a sink that was changed, or removed and created again, while its job waits for changes, receives all later changes.
func TestDeliver_Changed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.db.Do(t, "CREATE TABLE public.numbers (n bigint); INSERT INTO public.numbers VALUES (3)")
	who := audit.Who{Via: audit.ViaCLI}
	tx := func(do func(tx pgx.Tx) error) { require.NoError(t, b.db.Tx(t.Context(), do)) }
	create := func(tx pgx.Tx, settings string, after int64) error {
		return consumer.Create(t.Context(), tx, consumer.Consumer{Name: "s", Stream: "app", Kind: "webhook", Shards: 1, Settings: json.RawMessage(settings)}, after, who)
	}
	tx(func(tx pgx.Tx) error { return create(tx, `{"url": "one"}`, 0) })
	sinks := map[string]*collector{"one": {}, "two": {}, "three": {}}
	b.start(t, func(config *worker.Config) {
		config.Capture = &worker.Capture{Log: numbers{}, Open: func(_ context.Context, c consumer.Consumer) (sink.Sink, *filter.Filter, bool, error) {
			var settings struct {
				URL string `json:"url"`
			}
			if err := json.Unmarshal(c.Settings, &settings); err != nil {
				return nil, nil, false, err
			}
			passes, err := filter.New(filter.Config{})
			return sinks[settings.URL], passes, false, err
		}}
	})
	at := func(position string) {
		t.Helper()
		b.db.Wait(t, "EXISTS (SELECT FROM capture.shard WHERE position = "+position+")")
	}
	at("3")
	tx(func(tx pgx.Tx) error {
		return consumer.Update(t.Context(), tx, consumer.Consumer{Name: "s", Kind: "webhook", Settings: json.RawMessage(`{"url": "two"}`)}, who)
	})
	b.db.Do(t, "UPDATE public.numbers SET n = 5")
	at("5")
	tx(func(tx pgx.Tx) error {
		if err := consumer.Remove(t.Context(), tx, "s", who); err != nil {
			return err
		}
		return create(tx, `{"url": "three"}`, 5)
	})
	b.db.Do(t, "UPDATE public.numbers SET n = 7")
	at("7")
	require.Equal(t, []int64{6, 7}, sinks["three"].all())
	require.Equal(t, []int64{4, 5}, sinks["two"].all())
}
