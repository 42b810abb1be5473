package kafka_test

import (
	"encoding/json"
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

func newCluster(t *testing.T) *cluster {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, topic), kfake.EnableSASL(),
		kfake.Superuser("PLAIN", "daymill", sinktest.Password))
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
	s, err := kafka.Open(kafka.Config{
		URL: "kafka://daymill:" + sinktest.Password + "@" + strings.Join(c.ListenAddrs(), ","), Timeout: 5 * time.Second,
	})
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

// Rows reads each partition to its end.
func (c *cluster) Rows(t *testing.T) map[string]int64 {
	t.Helper()
	rows := map[string]int64{}
	for partition := range int32(3) {
		end := c.PartitionInfo(topic, partition).HighWatermark
		if end == 0 {
			continue
		}
		s, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), plainAuth(),
			kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}))
		require.NoError(t, err)
		var received []change.Change
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
		s.Close()
		for id, position := range sinktest.Fold(t, received) {
			require.NotContains(t, rows, id)
			rows[id] = position
		}
	}
	return rows
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
