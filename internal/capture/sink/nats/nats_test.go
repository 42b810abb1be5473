package nats_test

import (
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/sink/nats"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
)

type target struct {
	options *server.Options
	server  *server.Server
}

func newTarget(t *testing.T) *target {
	t.Helper()
	n := &target{options: &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
		Username: "daymill", Password: sinktest.Password,
	}}
	n.Start(t)
	t.Cleanup(func() { n.Stop(t) })
	return n
}

func (n *target) Start(t *testing.T) {
	t.Helper()
	var err error
	n.server, err = server.NewServer(n.options)
	require.NoError(t, err)
	n.server.Start()
	require.True(t, n.server.ReadyForConnections(time.Minute))
	n.options.Port = n.server.Addr().(*net.TCPAddr).Port
}

func (n *target) Stop(*testing.T) {
	n.server.Shutdown()
	n.server.WaitForShutdown()
}

func (n *target) url() string {
	return strings.Replace(n.server.ClientURL(), "nats://", "nats://daymill:"+sinktest.Password+"@", 1)
}

func (n *target) open(t *testing.T, stream string) sink.Sink {
	t.Helper()
	s, err := nats.Open(nats.Config{URL: n.url(), Stream: stream, Timeout: 20 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func (n *target) Open(t *testing.T) sink.Sink {
	t.Helper()
	return n.open(t, "changes")
}

func (*target) Poisoned(c change.Change) change.Change {
	c.New = sinktest.Object(map[string]any{"id": sinktest.Poison, "note": strings.Repeat("x", 2<<20)})
	return c
}

func (n *target) messages(t *testing.T) []jetstream.Msg {
	t.Helper()
	conn, err := natsgo.Connect(n.url())
	require.NoError(t, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	stream, err := js.Stream(t.Context(), "changes")
	require.NoError(t, err)
	info, err := stream.Info(t.Context())
	require.NoError(t, err)
	consumer, err := js.OrderedConsumer(t.Context(), "changes", jetstream.OrderedConsumerConfig{})
	require.NoError(t, err)
	var messages []jetstream.Msg
	for len(messages) < int(info.State.Msgs) {
		message, err := consumer.Next()
		require.NoError(t, err)
		messages = append(messages, message)
	}
	return messages
}

func (n *target) Rows(t *testing.T) map[string]int64 {
	t.Helper()
	var received []change.Change
	for _, message := range n.messages(t) {
		var c change.Change
		require.NoError(t, json.Unmarshal(message.Data(), &c))
		require.Equal(t, sink.ID(c), message.Headers().Get(jetstream.MsgIDHeader))
		received = append(received, c)
	}
	return sinktest.Fold(t, received)
}

func TestNATS(t *testing.T) {
	t.Parallel()
	sinktest.Run(t, func(t *testing.T) sinktest.Target { return newTarget(t) })
}

// TestNATS_Repeats: the server drops messages that it already has.
func TestNATS_Repeats(t *testing.T) {
	t.Parallel()
	n := newTarget(t)
	s := n.Open(t)
	for range 3 {
		sinktest.Deliver(t, s, sinktest.Insert(1, 1), sinktest.Update(2, 1))
	}
	require.Len(t, n.messages(t), 2)
}

// TestNATS_Order: while the server does not accept a change, no later change of its key is stored: when both are published again, it
// would be dropped as a duplicate, and stay before the earlier one.
func TestNATS_Order(t *testing.T) {
	t.Parallel()
	n := newTarget(t)
	s := n.Open(t)
	sinktest.Deliver(t, s, sinktest.Insert(1, 1))
	limit := func(size int32) {
		conn, err := natsgo.Connect(n.url())
		require.NoError(t, err)
		defer conn.Close()
		js, err := jetstream.New(conn)
		require.NoError(t, err)
		stream, err := js.Stream(t.Context(), "changes")
		require.NoError(t, err)
		config := stream.CachedInfo().Config
		config.MaxMsgSize = size
		_, err = js.UpdateStream(t.Context(), config)
		require.NoError(t, err)
	}
	limit(2000)
	large := sinktest.Update(3, 1)
	large.New = sinktest.Object(map[string]any{"id": 1, "note": strings.Repeat("x", 4000)})
	changes := []change.Change{sinktest.Update(2, 1), large, sinktest.Update(4, 1), sinktest.Insert(5, 2)}
	refusals, err := s.Deliver(t.Context(), changes)
	require.NoError(t, err)
	require.Equal(t, []int{1, 2}, []int{refusals[0].Index, refusals[1].Index})
	require.Contains(t, refusals[0].Reason, "larger than the JetStream stream allows")
	positions := func() (all []string) {
		for _, message := range n.messages(t) {
			all = append(all, message.Headers().Get(nats.HeaderPosition))
		}
		return all
	}
	require.Equal(t, []string{"1", "2", "5"}, positions())
	limit(-1)
	sinktest.Deliver(t, s, changes...)
	require.Equal(t, []string{"1", "2", "5", "3", "4"}, positions())
}

// TestNATS_Subject: a table's name is one token, whatever characters it has.
func TestNATS_Subject(t *testing.T) {
	t.Parallel()
	n := newTarget(t)
	c := sinktest.Insert(1, 1)
	c.Table = "a.b> *\r\n"
	sinktest.Deliver(t, n.Open(t), c)
	require.Equal(t, "daymill.app.public.a%2Eb%3E%20%2A%0D%0A", n.messages(t)[0].Subject())
}

// TestNATS_NoStream: the error says which stream is missing.
func TestNATS_NoStream(t *testing.T) {
	t.Parallel()
	_, err := newTarget(t).open(t, "").Deliver(t.Context(), []change.Change{sinktest.Insert(1, 1)})
	require.ErrorContains(t, err, "no JetStream stream has the subjects daymill.>: create one, or set stream")
}

func TestOpen_Refused(t *testing.T) {
	t.Parallel()
	for _, config := range []nats.Config{
		{},
		{URL: "http://host:1"},
		{URL: "nats://"},
		{URL: "nats://u:" + sinktest.Password + "%zz@host:1"},
		{URL: "nats://host:1", Subject: "a.*"},
		{URL: "nats://host:1", Subject: "a..b"},
		{URL: "nats://host:1", Subject: "a b"},
	} {
		_, err := nats.Open(config)
		require.ErrorIs(t, err, nats.ErrConfig)
		require.NotContains(t, err.Error(), sinktest.Password)
	}
}
