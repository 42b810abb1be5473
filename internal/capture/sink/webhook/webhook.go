// Package webhook is a sink that posts changes to a URL, with the headers and the signature of Standard Webhooks
// (https://www.standardwebhooks.com). A receiver drops repeats by webhook-id, or by the position in each change.
package webhook

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/webhook"
)

// DefaultTimeout is how long one request may take.
const DefaultTimeout = webhook.DefaultTimeout

// ErrConfig says that the configuration of a webhook cannot be used.
var ErrConfig = webhook.ErrConfig

// Config configures the sink. Only URL has no default.
type Config struct {
	URL    string
	Secret string // signs, as Standard Webhooks writes it (whsec_ and base64); no signature if empty
	// Batch posts an array of changes. If false, each change is posted separately, one after another.
	Batch bool
	// AllowPrivate allows loopback, private and other special addresses.
	AllowPrivate bool
	Timeout      time.Duration // of one request; DefaultTimeout if 0
	Clock        pace.Clock    // the system's if nil
}

// Webhook posts changes.
type Webhook struct {
	batch  bool
	client *webhook.Client
}

// Open checks the configuration. It does not connect.
func Open(config Config) (*Webhook, error) {
	client, err := webhook.Open(webhook.Config{
		URL: config.URL, Secret: config.Secret, AllowPrivate: config.AllowPrivate, Timeout: config.Timeout, Clock: config.Clock,
	})
	if err != nil {
		return nil, err
	}
	return &Webhook{batch: config.Batch, client: client}, nil
}

// Close drops idle connections.
func (w *Webhook) Close() error {
	w.client.Close()
	return nil
}

// Sweeps returns true: a sweep is posted like any other change.
func (*Webhook) Sweeps() bool { return true }

// Deliver posts changes.
func (w *Webhook) Deliver(ctx context.Context, changes []change.Change) ([]sink.Refusal, error) {
	if w.batch {
		return sink.Halve(ctx, changes, w.post)
	}
	return sink.Each(ctx, changes, w.post)
}

// body returns the change, or an array of changes.
func (w *Webhook) body(changes []change.Change) ([]byte, error) {
	var body bytes.Buffer
	for i, c := range changes {
		if w.batch {
			body.WriteByte("[,"[min(i, 1)])
		}
		document, err := sink.Document(c)
		if err != nil {
			return nil, err
		}
		body.Write(document)
	}
	if w.batch {
		body.WriteByte(']')
	}
	return body.Bytes(), nil
}

// id returns an id for changes, which is the same whenever they are posted.
func id(changes []change.Change) string {
	id := sink.ID(changes[0])
	if last := changes[len(changes)-1]; len(changes) > 1 {
		id += "-" + strconv.FormatInt(last.Position, 10) + "-" + strconv.Itoa(len(changes))
	}
	return id
}

func (w *Webhook) post(ctx context.Context, changes []change.Change) error {
	body, err := w.body(changes)
	if err != nil {
		return err
	}
	answer, err := w.client.Post(ctx, id(changes), body)
	if err != nil {
		return err
	}
	return judge(answer, len(changes))
}

// judge interprets an answer. It returns nil if the changes were accepted, and a sink.Refused if a retry is useless.
func judge(answer *webhook.Answer, count int) error {
	status := answer.Code
	switch {
	case status >= 200 && status < 300:
		return nil
	case status >= 300 && status < 400:
		return answer.Err()
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		if answer.RetryAfter > 0 {
			return &sink.RetryError{After: answer.RetryAfter, Err: answer.Err()}
		}
		return answer.Err()
	// The endpoint is wrong, missing, or does not know the sender. No change causes these.
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound,
		status == http.StatusMethodNotAllowed, status == http.StatusRequestTimeout, status == http.StatusTooEarly,
		status >= 500, status < 200:
		return answer.Err()
	case status == http.StatusRequestEntityTooLarge && count > 1:
		return &sink.Refused{Reason: "the batch is too large for the webhook", Answer: sink.Answer(answer.Body)}
	default:
		return &sink.Refused{Reason: "the webhook answered " + answer.Status, Answer: sink.Answer(answer.Body)}
	}
}
