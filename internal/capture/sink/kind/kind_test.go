package kind_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/sink/kind"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
)

func environment(values map[string]string) kind.Environment {
	return kind.Environment{Lookup: func(name string) (string, bool) { value, set := values[name]; return value, set }}
}

func settings(name string) kind.Settings {
	s := kind.Settings{Config: filter.Config{Tables: []string{"public.orders"}}, URL: "$URL"}
	switch name {
	case kind.Redis:
		s.Set = "order:{{ .key.id }}"
	case kind.Search:
		s.Index = "orders"
	}
	return s
}

func TestOpen(t *testing.T) {
	t.Parallel()
	urls := map[string]string{
		kind.Webhook: "https://example.com", kind.Redis: "redis://localhost", kind.Search: "http://localhost:9200", kind.Kafka: "kafka://localhost:1",
		kind.NATS: "nats://localhost:1", kind.ClickHouse: "http://localhost:8123",
	}
	for name, url := range urls {
		opened, err := kind.Open(t.Context(), name, settings(name), environment(map[string]string{"URL": url}))
		require.NoError(t, err, name)
		require.False(t, opened.Once)
		require.NoError(t, opened.Close())
	}
}

// TestOpened_Sweeps: a consumer receives sweeps if its sink can delete the rows that a snapshot did not find.
func TestOpened_Sweeps(t *testing.T) {
	t.Parallel()
	for name, sweeps := range map[string]bool{kind.Postgres: true, kind.Redis: false, kind.Search: false, kind.Webhook: true, kind.ClickHouse: true} {
		env := environment(map[string]string{"URL": map[string]string{
			kind.Postgres: "postgres://localhost/app", kind.Redis: "redis://localhost", kind.Webhook: "https://example.com",
			kind.Search: "https://localhost:9200", kind.ClickHouse: "http://localhost:8123",
		}[name]})
		env.URL = "postgres://localhost/app"
		opened, err := kind.Open(t.Context(), name, settings(name), env)
		require.NoError(t, err, name)
		sweeper, is := sink.Sink(opened).(sink.Sweeper)
		require.Equal(t, sweeps, is && sweeper.Sweeps(), name)
		require.NoError(t, opened.Close())
	}
}

// TestCheck_Sweep: only a poller selects sweeps by its ops.
func TestCheck_Sweep(t *testing.T) {
	t.Parallel()
	for _, name := range kind.Names() {
		with := settings(name)
		if name == kind.Poll {
			with = kind.Settings{}
		}
		require.Empty(t, kind.Check(name, with), name)
		with.Ops = []change.Op{change.Insert, change.Sweep}
		problems := kind.Check(name, with)
		if name == kind.Poll {
			require.Empty(t, problems)
		} else {
			require.Len(t, problems, 1, name)
			require.Equal(t, "ops", problems[0].Field)
		}
	}
}

// TestOpen_Secret: values of environment variables are neither in errors nor in stored settings.
func TestOpen_Secret(t *testing.T) {
	t.Parallel()
	for _, name := range kind.Names() {
		if name == kind.Poll {
			continue // A poller has no URL.
		}
		_, err := kind.Open(t.Context(), name, settings(name), environment(nil))
		require.ErrorContains(t, err, "the environment variable URL is not set", name)
		_, err = kind.Open(t.Context(), name, settings(name), environment(map[string]string{"URL": "\x7f://u:" + sinktest.Password + "@%zz"}))
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), sinktest.Password)
		wrong := settings(name)
		wrong.URL = "redis://:" + sinktest.Password + "@host"
		for _, problem := range kind.Check(name, wrong) {
			require.NotContains(t, problem.Err.Error(), sinktest.Password)
		}
		require.NotEmpty(t, kind.Check(name, wrong))
	}
	document, err := json.Marshal(settings(kind.Redis))
	require.NoError(t, err)
	require.JSONEq(t, `{"tables": ["public.orders"], "url": "$URL", "set": "order:{{ .key.id }}"}`, string(document))
}
