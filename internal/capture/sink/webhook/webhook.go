// Package webhook is a sink that posts changes to a URL, with the headers and the signature of Standard Webhooks
// (https://www.standardwebhooks.com). A receiver drops repeats by webhook-id, or by the position in each change.
package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/pace"
)

// Defaults of Config.
const (
	DefaultTimeout = 15 * time.Second
	// maxRetryAfter is the longest pause that a receiver can ask for.
	maxRetryAfter = time.Hour
	// minSecret is the minimum length of a secret in Standard Webhooks, in bytes.
	minSecret = 24
)

// ErrConfig says that the configuration of a webhook cannot be used.
var ErrConfig = errors.New("the webhook cannot be used")

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
	config Config
	client *http.Client
	signer *standardwebhooks.Webhook
}

// Open checks the configuration. It does not connect.
func Open(config Config) (*Webhook, error) {
	target, err := url.Parse(config.URL)
	if err != nil || (target.Scheme != "https" && target.Scheme != "http") || target.Host == "" {
		return nil, fmt.Errorf("%w: its URL must begin with https:// or http:// and name a host", ErrConfig)
	}
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
	if config.Clock == nil {
		config.Clock = pace.SystemClock{}
	}
	w := &Webhook{config: config}
	if config.Secret != "" {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(config.Secret, "whsec_"))
		if err != nil || len(key) < minSecret {
			return nil, fmt.Errorf("%w: its secret must be base64 of %d bytes or more, after whsec_ or alone, as `openssl rand -base64 32` makes one",
				ErrConfig, minSecret)
		}
		if w.signer, err = standardwebhooks.NewWebhookRaw(key); err != nil {
			return nil, fmt.Errorf("%w: its secret cannot be used to sign", ErrConfig)
		}
	}
	dialer := &net.Dialer{Timeout: config.Timeout}
	if !config.AllowPrivate {
		dialer.Control = refusePrivate
	}
	w.client = &http.Client{
		Timeout: config.Timeout,
		Transport: &http.Transport{
			// A proxy would look up names itself, without the dialer's check.
			Proxy:                  nil,
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
		},
		// Do not follow redirects: judge returns an error for them.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return w, nil
}

// Close drops idle connections.
func (w *Webhook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

// Sweeps returns true: a sweep is posted like any other change.
func (*Webhook) Sweeps() bool { return true }

// Deliver posts changes.
func (w *Webhook) Deliver(ctx context.Context, changes []change.Change) ([]sink.Refusal, error) {
	if w.config.Batch {
		return sink.Halve(ctx, changes, w.post)
	}
	return sink.Each(ctx, changes, w.post)
}

// body returns the change, or an array of changes.
func (w *Webhook) body(changes []change.Change) ([]byte, error) {
	var body bytes.Buffer
	for i, c := range changes {
		if w.config.Batch {
			body.WriteByte("[,"[min(i, 1)])
		}
		document, err := sink.Document(c)
		if err != nil {
			return nil, err
		}
		body.Write(document)
	}
	if w.config.Batch {
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
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.config.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: its URL cannot be read", ErrConfig)
	}
	now := w.config.Clock.Now()
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "daymill")
	request.Header.Set(standardwebhooks.HeaderWebhookID, id(changes))
	request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	if w.signer != nil {
		signature, err := w.signer.Sign(id(changes), now, body)
		if err != nil {
			return fmt.Errorf("sign: %w", err)
		}
		request.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	}
	response, err := w.client.Do(request)
	if err != nil {
		return unreachable(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, sink.MaxAnswer))
	if err != nil && response.StatusCode >= http.StatusBadRequest {
		answer = nil // The status is enough.
	}
	return w.judge(response, answer, len(changes))
}

// unreachable returns why there was no answer, without the URL, which may contain a secret.
func unreachable(err error) error {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err
	}
	return fmt.Errorf("the webhook cannot be reached: %w", err)
}

// judge interprets an answer. It returns nil if the changes were accepted, and a sink.Refused if a retry is useless.
func (w *Webhook) judge(response *http.Response, answer []byte, count int) error {
	status := response.StatusCode
	switch {
	case status >= 200 && status < 300:
		return nil
	case status >= 300 && status < 400:
		return fmt.Errorf("the webhook redirects (%s), which Daymill does not follow: configure the URL that it redirects to", response.Status)
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		err := fmt.Errorf("the webhook is busy (%s)", response.Status)
		if after := w.retryAfter(response.Header.Get("Retry-After")); after > 0 {
			return &sink.RetryError{After: after, Err: err}
		}
		return err
	// The endpoint is wrong, missing, or does not know the sender. No change causes these.
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound,
		status == http.StatusMethodNotAllowed, status == http.StatusRequestTimeout, status == http.StatusTooEarly,
		status >= 500, status < 200:
		return fmt.Errorf("the webhook answered %s", response.Status)
	case status == http.StatusRequestEntityTooLarge && count > 1:
		return &sink.Refused{Reason: "the batch is too large for the webhook", Answer: sink.Answer(answer)}
	default:
		return &sink.Refused{Reason: "the webhook answered " + response.Status, Answer: sink.Answer(answer)}
	}
}

// retryAfter parses a Retry-After header, which has seconds or an instant; 0 if it has neither.
func (w *Webhook) retryAfter(header string) time.Duration {
	var after time.Duration
	if seconds, err := strconv.Atoi(header); err == nil {
		after = time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		after = at.Sub(w.config.Clock.Now())
	}
	return max(0, min(after, maxRetryAfter))
}
