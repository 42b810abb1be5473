package kafka_test

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/sink/kafka"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
)

const topic = "app.public.orders"

type cluster struct {
	*kfake.Cluster

	down atomic.Bool
}

func newCluster(t *testing.T, more ...kfake.Opt) *cluster {
	t.Helper()
	fake, err := kfake.NewCluster(append(more, kfake.NumBrokers(1), kfake.SeedTopics(3, topic), kfake.EnableSASL(),
		kfake.Superuser("PLAIN", "daymill", sinktest.Password))...)
	require.NoError(t, err)
	t.Cleanup(fake.Close)
	c := &cluster{Cluster: fake}
	fake.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		if !c.down.Load() {
			return nil, nil, false
		}
		produce := request.(*kmsg.ProduceRequest)
		response := produce.ResponseKind().(*kmsg.ProduceResponse)
		for _, asked := range produce.Topics {
			answer := kmsg.NewProduceResponseTopic()
			answer.Topic, answer.TopicID = asked.Topic, asked.TopicID
			for _, partition := range asked.Partitions {
				p := kmsg.NewProduceResponseTopicPartition()
				p.Partition, p.ErrorCode = partition.Partition, kerr.NotEnoughReplicas.Code
				answer.Partitions = append(answer.Partitions, p)
			}
			response.Topics = append(response.Topics, answer)
		}
		return response, nil, true
	})
	return c
}

func (c *cluster) Open(t *testing.T) sink.Sink {
	t.Helper()
	return c.open(t, kafka.Config{Timeout: 5 * time.Second})
}

func (c *cluster) open(t *testing.T, config kafka.Config) sink.Sink {
	t.Helper()
	config.URL = "kafka://daymill:" + sinktest.Password + "@" + strings.Join(c.ListenAddrs(), ",")
	s, err := kafka.Open(config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (c *cluster) Stop(*testing.T)  { c.down.Store(true) }
func (c *cluster) Start(*testing.T) { c.down.Store(false) }

func (*cluster) Poisoned(c change.Change) change.Change {
	c.New = sinktest.Object(map[string]any{"id": sinktest.Poison, "note": strings.Repeat("x", 2*kafka.DefaultMaxBytes)})
	return c
}

// Rows folds the changes of each partition.
func (c *cluster) Rows(t *testing.T) map[string]int64 {
	t.Helper()
	rows := map[string]int64{}
	for partition := range int32(3) {
		for id, position := range sinktest.Fold(t, c.stored(t, partition)) {
			require.NotContains(t, rows, id)
			rows[id] = position
		}
	}
	return rows
}

// stored reads a partition to its end.
func (c *cluster) stored(t *testing.T, partition int32) (received []change.Change) {
	t.Helper()
	end := c.PartitionInfo(topic, partition).HighWatermark
	if end == 0 {
		return nil
	}
	s, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), plainAuth(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}))
	require.NoError(t, err)
	defer s.Close()
	for last := int64(-1); last < end-1; {
		fetches := s.PollFetches(t.Context())
		require.NoError(t, fetches.Err())
		fetches.EachRecord(func(record *kgo.Record) {
			last = record.Offset
			var received1 change.Change
			require.NoError(t, json.Unmarshal(record.Value, &received1))
			require.JSONEq(t, string(received1.Key), string(record.Key))
			require.Equal(t, strconv.FormatInt(received1.Position, 10), header(record, kafka.HeaderPosition))
			require.Equal(t, sink.ID(received1), header(record, kafka.HeaderID))
			received = append(received, received1)
		})
	}
	return received
}

func header(record *kgo.Record, name string) string {
	for _, header := range record.Headers {
		if header.Key == name {
			return string(header.Value)
		}
	}
	return ""
}

func TestKafka(t *testing.T) {
	t.Parallel()
	sinktest.Run(t, func(t *testing.T) sinktest.Target { return newCluster(t) })
}

// noted returns a change with a note of random letters, which cannot be compressed.
func noted(c change.Change, length int) change.Change {
	random := rand.New(rand.NewPCG(uint64(c.Position), 1))
	note := make([]byte, length)
	for i := range note {
		note[i] = byte('a' + random.IntN(26))
	}
	c.New = sinktest.Object(map[string]any{"id": c.Position, "note": string(note)})
	return c
}

// TestKafka_Repeats: the brokers store a batch once, also if their answer is lost and the client sends the batch again.
func TestKafka_Repeats(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	lost := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.RequestTimedOut, Count: 2})
	var changes []change.Change
	for i := range 30 {
		changes = append(changes, sinktest.Insert(int64(i+1), i))
	}
	sinktest.Deliver(t, c.open(t, kafka.Config{Timeout: time.Minute}), changes...)
	require.NotZero(t, lost.Hits())
	stored := int64(0)
	for partition := range int32(3) {
		stored += c.PartitionInfo(topic, partition).HighWatermark
	}
	require.Equal(t, int64(30), stored)
}

// TestKafka_TooLarge: of records that are too large together, only those that are too large alone are refused, with the later changes of
// their keys.
func TestKafka_TooLarge(t *testing.T) {
	t.Parallel()
	c := newCluster(t, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "5000"}))
	var changes []change.Change
	want := map[string]int64{}
	for i := range 60 {
		length := 1000
		if i == 30 {
			length = 10_000
		}
		changes = append(changes, noted(sinktest.Insert(int64(i+1), i), length))
		want[strconv.Itoa(i)] = int64(i + 1)
	}
	delete(want, "30")
	changes = append(changes, noted(sinktest.Update(61, 30), 1000), noted(sinktest.Update(62, 1), 1000))
	want["1"] = 62
	refusals, err := c.open(t, kafka.Config{Timeout: time.Minute}).Deliver(t.Context(), changes)
	require.NoError(t, err)
	require.Len(t, refusals, 2)
	require.Equal(t, []int{30, 60}, []int{refusals[0].Index, refusals[1].Index})
	require.Equal(t, sink.Behind(31), refusals[1].Reason)
	require.Equal(t, want, c.Rows(t))
}

// TestKafka_Order: after the brokers have refused a batch, its records are stored in order.
func TestKafka_Order(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	refused := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.InvalidRecord})
	s := c.open(t, kafka.Config{Timeout: time.Minute}) // These records are too large for one batch.
	sinktest.Deliver(t, s, noted(sinktest.Insert(1, 1), 900_000), noted(sinktest.Update(2, 1), 900_000), noted(sinktest.Update(3, 1), 900_000))
	require.Equal(t, 1, refused.Hits())
	var positions []int64
	for partition := range int32(3) {
		for _, received := range c.stored(t, partition) {
			positions = append(positions, received.Position)
		}
	}
	require.Equal(t, []int64{1, 2, 3}, positions)
}

// TestKafka_Topic: a change of a table whose name cannot be a topic is refused, and so are the changes of its key that follow.
func TestKafka_Topic(t *testing.T) {
	t.Parallel()
	s := newCluster(t).Open(t)
	for _, table := range []string{"Bestellungen für morgen", "a/b", "..", strings.Repeat("x", 250), "a\nb"} {
		first, second := sinktest.Insert(1, 1), sinktest.Update(2, 1)
		first.Table, second.Table = table, table
		if table == ".." {
			continue // Its topic is app.public..., which Kafka allows.
		}
		refusals, err := s.Deliver(t.Context(), []change.Change{first, second})
		require.NoError(t, err)
		require.Len(t, refusals, 2)
		require.Contains(t, refusals[0].Reason, "is not a name for a topic")
	}
}

func TestOpen_Refused(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"", "http://x:1", "kafka://", "kafka://host", "kafka://u:" + sinktest.Password + "@host", "kafka://u:" + sinktest.Password + "%zz@host:1",
		"kafka://u:" + sinktest.Password + "@host:1?sasl=kerberos",
	} {
		_, err := kafka.Open(kafka.Config{URL: url})
		require.ErrorIs(t, err, kafka.ErrConfig, url)
		require.NotContains(t, err.Error(), sinktest.Password)
	}
}

func plainAuth() kgo.Opt {
	return kgo.SASL(plain.Auth{User: "daymill", Pass: sinktest.Password}.AsMechanism())
}
