// Package kafka is a sink that produces one Kafka record per change, with the row's key as the record's key, so that the changes of a
// row stay in order within a partition. The producer is idempotent. A change that is delivered again after a failure has the same
// position in its headers.
package kafka

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/template"
)

// ErrConfig says that the configuration of a Kafka sink cannot be used.
var ErrConfig = errors.New("the Kafka sink cannot be used")

// Headers of a record.
const (
	HeaderID       = "daymill-id"
	HeaderPosition = "daymill-position"
	HeaderOp       = "daymill-op"
)

// Defaults of Config.
const (
	DefaultTimeout  = 30 * time.Second
	DefaultMaxBytes = 1_000_000
	// overhead is about how many bytes a record has in addition to its key and value.
	overhead = 512
)

// Config configures the sink. Only URL has no default.
type Config struct {
	// URL is kafka://user:password@host:9092,host2:9092?sasl=scram-sha-512, or kafkas:// for TLS. The default of sasl is plain.
	URL string
	// Topic is the topic of a change; <stream>.<schema>.<table> if nil.
	Topic *template.Template
	// CreateTopics lets the brokers create missing topics, if their configuration allows that.
	CreateTopics bool
	MaxBytes     int           // of a record; DefaultMaxBytes if 0. Larger records are refused.
	Timeout      time.Duration // for a batch; DefaultTimeout if 0
}

// Kafka produces records.
type Kafka struct {
	config Config
	client *kgo.Client
}

// Open checks the configuration. It does not connect.
func Open(config Config) (*Kafka, error) {
	config.Timeout, config.MaxBytes = cmp.Or(config.Timeout, DefaultTimeout), cmp.Or(config.MaxBytes, DefaultMaxBytes)
	options, err := connect(config.URL)
	if err != nil {
		return nil, err
	}
	options = append(options,
		kgo.ClientID("daymill"), kgo.RecordDeliveryTimeout(config.Timeout), kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytes(int32(config.MaxBytes)), //nolint:gosec // An option, validated.
		// Keep the order within a batch, also if a request fails and is sent again.
		kgo.RequiredAcks(kgo.AllISRAcks()),
	)
	if config.CreateTopics {
		options = append(options, kgo.AllowAutoTopicCreation())
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("%w: its URL names no brokers", ErrConfig)
	}
	return &Kafka{config: config, client: client}, nil
}

// connect returns the client's options for a URL. Its errors do not show the URL.
func connect(text string) ([]kgo.Opt, error) {
	wrong := fmt.Errorf("%w: write its URL as kafka://user:password@host:9092,host:9092 (kafkas:// for TLS)", ErrConfig)
	// net/url does not accept a list of hosts with ports.
	scheme, rest, found := strings.Cut(text, "://")
	if !found || (scheme != "kafka" && scheme != "kafkas") {
		return nil, wrong
	}
	rest, query, _ := strings.Cut(rest, "?")
	user, hosts := "", rest
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, hosts = rest[:at], rest[at+1:]
	}
	var seeds []string
	for host := range strings.SplitSeq(strings.TrimSuffix(hosts, "/"), ",") {
		if _, _, err := net.SplitHostPort(host); err != nil {
			return nil, wrong
		}
		seeds = append(seeds, host)
	}
	options := []kgo.Opt{kgo.SeedBrokers(seeds...)}
	if scheme == "kafkas" {
		options = append(options, kgo.DialTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12}))
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, wrong
	}
	if user == "" {
		return options, nil
	}
	name, password, _ := strings.Cut(user, ":")
	name, errName := url.PathUnescape(name)
	password, errPassword := url.PathUnescape(password)
	if errName != nil || errPassword != nil {
		return nil, wrong
	}
	switch values.Get("sasl") {
	case "", "plain":
		return append(options, kgo.SASL(plain.Auth{User: name, Pass: password}.AsMechanism())), nil
	case "scram-sha-256":
		return append(options, kgo.SASL(scram.Auth{User: name, Pass: password}.AsSha256Mechanism())), nil
	case "scram-sha-512":
		return append(options, kgo.SASL(scram.Auth{User: name, Pass: password}.AsSha512Mechanism())), nil
	default:
		return nil, fmt.Errorf("%w: sasl is plain, scram-sha-256 or scram-sha-512", ErrConfig)
	}
}

// Close drops the connections.
func (k *Kafka) Close() error {
	k.client.Close()
	return nil
}

// Sweeps returns true: a sweep is sent like any other change.
func (*Kafka) Sweeps() bool { return true }

// Deliver produces changes, and waits until they are stored.
func (k *Kafka) Deliver(ctx context.Context, changes []change.Change) ([]sink.Refusal, error) {
	var parked sink.Parked
	records := make([]*kgo.Record, 0, len(changes))
	var indexes []int
	for i, c := range changes {
		if parked.Behind(i, c) {
			continue
		}
		record, err := k.record(c)
		if err != nil {
			parked.Refuse(i, c, err.Error(), "")
			continue
		}
		records, indexes = append(records, record), append(indexes, i)
	}
	if len(records) == 0 {
		return parked.Refusals(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, k.config.Timeout)
	defer cancel()
	failed := map[*kgo.Record]bool{}
	for _, result := range k.client.ProduceSync(ctx, records...) {
		switch {
		case result.Err == nil:
		case refuses(result.Err):
			failed[result.Record] = true
		default:
			return nil, fmt.Errorf("Kafka does not accept the changes: %w", reason(result.Err))
		}
	}
	refusals := parked.Refusals()
	if len(failed) > 0 {
		more, err := k.alone(ctx, changes, records, indexes, failed)
		if err != nil {
			return nil, err
		}
		refusals = append(refusals, more...)
	}
	return refusals, nil
}

// refuses reports whether an error means that the broker will never store what it was sent.
func refuses(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.InvalidRecord) || errors.Is(err, kerr.RecordListTooLarge)
}

// alone produces the failed records one at a time. Brokers refuse a whole batch of records for a partition, and the client then fails those that
// follow in the partition too, which keeps their order.
func (k *Kafka) alone(
	ctx context.Context, changes []change.Change, records []*kgo.Record, indexes []int, failed map[*kgo.Record]bool,
) ([]sink.Refusal, error) {
	var parked sink.Parked
	for i, record := range records {
		c := changes[indexes[i]]
		if !failed[record] || parked.Behind(indexes[i], c) {
			continue
		}
		err := k.client.ProduceSync(ctx, &kgo.Record{Topic: record.Topic, Key: record.Key, Value: record.Value, Headers: record.Headers}).FirstErr()
		switch {
		case err == nil:
		case refuses(err):
			parked.Refuse(indexes[i], c, "Kafka refuses the record", sink.Answer([]byte(err.Error())))
		default:
			return nil, fmt.Errorf("Kafka does not accept the changes: %w", reason(err))
		}
	}
	return parked.Refusals(), nil
}

// reason removes the addresses from an error.
func reason(err error) error {
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return network.Err
	}
	return err
}

// topicName matches the names that Kafka allows for topics.
var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

func (k *Kafka) record(c change.Change) (*kgo.Record, error) {
	topic := c.Stream + "." + c.Schema + "." + c.Table
	if k.config.Topic != nil {
		data, err := template.Data(c)
		if err != nil {
			return nil, err
		}
		if topic, err = k.config.Topic.Render(data); err != nil {
			return nil, fmt.Errorf("topic: %w", err)
		}
	}
	if !topicName.MatchString(topic) || topic == "." || topic == ".." {
		return nil, fmt.Errorf("%q is not a name for a topic, which can only have letters, digits, dots, dashes and underscores: set topic", topic)
	}
	document, err := sink.Document(c)
	if err != nil {
		return nil, err
	}
	key := []byte(c.Key)
	if c.Op == change.Truncate || c.Op == change.Sweep {
		key = nil
	}
	if size := len(key) + len(document) + len(topic) + overhead; size > k.config.MaxBytes {
		return nil, fmt.Errorf("its record has %d bytes, and %d are allowed", size, k.config.MaxBytes)
	}
	// The record has no timestamp of the change: the client would take it as the time of delivery, and an old one as timed out.
	return &kgo.Record{
		Topic: topic, Key: key, Value: document,
		Headers: []kgo.RecordHeader{
			{Key: HeaderID, Value: []byte(sink.ID(c))},
			{Key: HeaderPosition, Value: strconv.AppendInt(nil, c.Position, 10)},
			{Key: HeaderOp, Value: []byte(c.Op)},
		},
	}, nil
}
