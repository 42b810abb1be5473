// Package nats is a sink that publishes changes to a stream of NATS JetStream. The id of a message is stream and position, so
// the server drops repeats within its window.
package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
)

// ErrConfig says that the configuration of a NATS sink cannot be used.
var ErrConfig = errors.New("the NATS sink cannot be used")

// Defaults of Config.
const (
	DefaultSubject = "daymill"
	DefaultTimeout = 30 * time.Second
	// window is how long a stream that connect creates drops duplicates.
	window = time.Hour
)

// HeaderPosition is the header that has the position of a message.
const HeaderPosition = "Daymill-Position"

// Config configures the sink. Only URL has no default.
type Config struct {
	URL string // nats://user:password@host:4222, or tls://
	// Subject is the beginning of subjects: <subject>.<stream>.<schema>.<table>. DefaultSubject if empty.
	Subject string
	// Stream is the JetStream stream to create over those subjects if it is missing; none is created if empty.
	Stream  string
	Timeout time.Duration // for a batch; DefaultTimeout if 0
}

// NATS publishes messages.
type NATS struct {
	config Config
	conn   *nats.Conn // nil until the first delivery
	stream jetstream.JetStream
}

// Open checks the configuration. It does not connect.
func Open(config Config) (*NATS, error) {
	config.Subject, config.Timeout = cmp.Or(config.Subject, DefaultSubject), cmp.Or(config.Timeout, DefaultTimeout)
	for one := range strings.SplitSeq(config.URL, ",") {
		target, err := url.Parse(one)
		if err != nil || target.Host == "" || (target.Scheme != "nats" && target.Scheme != "tls") {
			return nil, fmt.Errorf("%w: write its URL as nats://user:password@host:4222 (tls:// for TLS)", ErrConfig)
		}
	}
	for token := range strings.SplitSeq(config.Subject, ".") {
		if token == "" || token != escape(token) {
			return nil, fmt.Errorf("%w: subject has letters, digits, dashes and underscores, and dots between them", ErrConfig)
		}
	}
	return &NATS{config: config}, nil
}

// Close drops the connection.
func (n *NATS) Close() error {
	if n.conn != nil {
		n.conn.Close()
	}
	return nil
}

// connect connects if there is no connection, and creates the stream.
func (n *NATS) connect(ctx context.Context) error {
	if n.conn != nil && n.conn.IsConnected() {
		return nil
	}
	if n.conn != nil {
		n.conn.Close()
		n.conn = nil
	}
	conn, err := nats.Connect(n.config.URL, nats.Name("daymill"), nats.Timeout(min(n.config.Timeout, 5*time.Second)),
		// Changes that a broken connection buffered are delivered again: the connection must not send them as well.
		nats.NoReconnect())
	if err != nil {
		return fmt.Errorf("the NATS server cannot be reached: %w", reason(err))
	}
	stream, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return fmt.Errorf("use JetStream: %w", err)
	}
	if n.config.Stream != "" {
		_, err := stream.CreateStream(ctx, jetstream.StreamConfig{
			Name: n.config.Stream, Subjects: []string{n.config.Subject + ".>"}, Duplicates: window,
			Description: "changes of tables, made by Daymill",
		})
		if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			conn.Close()
			return fmt.Errorf("create the stream %q: %w", n.config.Stream, reason(err))
		}
	}
	n.conn, n.stream = conn, stream
	return nil
}

// pending is a message that was published and may not be stored yet.
type pending struct {
	index  int
	change change.Change
	future jetstream.PubAckFuture
}

// Sweeps returns true: a sweep is sent like any other change.
func (*NATS) Sweeps() bool { return true }

// Deliver publishes changes, and waits until they are stored. It publishes a change only after the previous change of its key is stored:
// otherwise the server could store only the later one, and drop it as a duplicate when both are published again in order.
func (n *NATS) Deliver(ctx context.Context, changes []change.Change) ([]sink.Refusal, error) {
	ctx, cancel := context.WithTimeout(ctx, n.config.Timeout)
	defer cancel()
	if err := n.connect(ctx); err != nil {
		return nil, err
	}
	closed := n.conn.StatusChanged(nats.CLOSED)
	defer func(conn *nats.Conn) { conn.RemoveStatusListener(closed) }(n.conn)
	var parked sink.Parked
	var published []pending
	under := map[string]bool{} // keys of those in published
	for i, c := range changes {
		if under[sink.Key(c)] {
			if err := n.await(ctx, published, closed, &parked); err != nil {
				return nil, err
			}
			published = published[:0]
			clear(under)
		}
		if parked.Behind(i, c) {
			continue
		}
		message, err := n.message(c)
		if err != nil {
			parked.Refuse(i, c, err.Error(), "")
			continue
		}
		future, err := n.stream.PublishMsgAsync(message, jetstream.WithRetryAttempts(0))
		if err != nil {
			return nil, n.broken(err)
		}
		published = append(published, pending{i, c, future})
		under[sink.Key(c)] = true
	}
	if err := n.await(ctx, published, closed, &parked); err != nil {
		return nil, err
	}
	return parked.Refusals(), nil
}

// tooLarge is the server's code for a message that is too large for the stream. No other error has it.
const tooLarge jetstream.ErrorCode = 10054

// await waits until messages are stored, or permanently refused.
func (n *NATS) await(ctx context.Context, published []pending, closed <-chan nats.Status, parked *sink.Parked) error {
	for _, one := range published {
		select {
		case <-one.future.Ok():
		case err := <-one.future.Err():
			var refused *jetstream.APIError
			if !errors.As(err, &refused) || refused.ErrorCode != tooLarge {
				return n.broken(err)
			}
			parked.Refuse(one.index, one.change, "its message is larger than the JetStream stream allows", refused.Description)
		case <-closed:
			return n.broken(nats.ErrConnectionClosed)
		case <-ctx.Done():
			return n.broken(context.Cause(ctx))
		}
	}
	return nil
}

// broken drops the connection, so that no message of this batch arrives after the next delivery.
func (n *NATS) broken(err error) error {
	n.conn.Close()
	n.conn = nil
	if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("no JetStream stream has the subjects %s.>: create one, or set stream", n.config.Subject)
	}
	return fmt.Errorf("the NATS server does not accept the changes: %w", reason(err))
}

// reason removes the addresses from an error.
func reason(err error) error {
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return network.Err
	}
	return err
}

// escape writes a name as one token of a subject. All characters except letters, digits, dashes and underscores become %XX.
func escape(name string) string {
	var token strings.Builder
	for _, b := range []byte(name) {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '-', b == '_':
			token.WriteByte(b)
		default:
			fmt.Fprintf(&token, "%%%02X", b)
		}
	}
	return token.String()
}

func (n *NATS) message(c change.Change) (*nats.Msg, error) {
	document, err := sink.Document(c)
	if err != nil {
		return nil, err
	}
	message := nats.NewMsg(n.config.Subject + "." + escape(c.Stream) + "." + escape(c.Schema) + "." + escape(c.Table))
	message.Data = document
	message.Header.Set(jetstream.MsgIDHeader, sink.ID(c))
	message.Header.Set(HeaderPosition, strconv.FormatInt(c.Position, 10))
	if size, most := int64(message.Size()), n.conn.MaxPayload(); size > most {
		return nil, fmt.Errorf("its message has %d bytes, and the server allows %d", size, most)
	}
	return message, nil
}
