// Package webhook posts documents to a URL, with the headers and the signature of Standard Webhooks (https://www.standardwebhooks.com). It
// connects to public addresses only, unless the configuration allows others. Sinks of capture and alerts use it.
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

	"github.com/daymill/daymill/internal/pace"
)

const (
	// DefaultTimeout is how long one request may take.
	DefaultTimeout = 15 * time.Second
	// maxRetryAfter is the longest pause that a receiver can ask for.
	maxRetryAfter = time.Hour
	// minSecret is the minimum length of a secret in Standard Webhooks, in bytes.
	minSecret = 24
	// maxAnswer is how many bytes of an answer are read.
	maxAnswer = 4 << 10
)

// ErrConfig says that the configuration of a webhook cannot be used.
var ErrConfig = errors.New("the webhook cannot be used")

// Config configures a client. Only URL has no default.
type Config struct {
	URL    string
	Secret string // signs, as Standard Webhooks writes it (whsec_ and base64); no signature if empty
	// AllowPrivate allows loopback, private and other special addresses.
	AllowPrivate bool
	Timeout      time.Duration // of one request; DefaultTimeout if 0
	Clock        pace.Clock    // the system's if nil
}

// Client posts documents to one URL.
type Client struct {
	config Config
	client *http.Client
	signer *standardwebhooks.Webhook
}

// Open checks the configuration. It does not connect.
func Open(config Config) (*Client, error) {
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
	c := &Client{config: config}
	if config.Secret != "" {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(config.Secret, "whsec_"))
		if err != nil || len(key) < minSecret {
			return nil, fmt.Errorf("%w: its secret must be base64 of %d bytes or more, after whsec_ or alone, as `openssl rand -base64 32` makes one",
				ErrConfig, minSecret)
		}
		if c.signer, err = standardwebhooks.NewWebhookRaw(key); err != nil {
			return nil, fmt.Errorf("%w: its secret cannot be used to sign", ErrConfig)
		}
	}
	c.client = &http.Client{
		Timeout: config.Timeout,
		Transport: &http.Transport{
			// A proxy would look up names itself, without the dialer's check.
			Proxy:                  nil,
			DialContext:            Dialer(config.Timeout, config.AllowPrivate).DialContext,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
		},
		// Do not follow redirects: Err returns an error for them.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Dialer returns a dialer that connects to public addresses only, or to all.
func Dialer(timeout time.Duration, allowPrivate bool) *net.Dialer {
	dialer := &net.Dialer{Timeout: timeout}
	if !allowPrivate {
		dialer.Control = refusePrivate
	}
	return dialer
}

// Close drops idle connections.
func (c *Client) Close() { c.client.CloseIdleConnections() }

// Answer is what the receiver answered.
type Answer struct {
	Code       int
	Status     string        // the code in words
	RetryAfter time.Duration // at most an hour; 0 if the receiver did not say
	Body       []byte        // its first 4 KiB
}

// Post posts a JSON document. A receiver drops repeats by the id. The error does not contain the URL, which may be a secret.
func (c *Client) Post(ctx context.Context, id string, body []byte) (*Answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.config.URL, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: its URL cannot be read", ErrConfig)
	}
	now := c.config.Clock.Now()
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "daymill")
	request.Header.Set(standardwebhooks.HeaderWebhookID, id)
	request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	if c.signer != nil {
		signature, err := c.signer.Sign(id, now, body)
		if err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
		request.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	}
	response, err := c.client.Do(request)
	if err != nil {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err
		}
		return nil, fmt.Errorf("the webhook cannot be reached: %w", err)
	}
	defer response.Body.Close()
	answer := &Answer{Code: response.StatusCode, Status: response.Status, RetryAfter: c.retryAfter(response.Header.Get("Retry-After"))}
	if answer.Body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer)); err != nil && response.StatusCode >= http.StatusBadRequest {
		answer.Body = nil // The status is enough.
	}
	return answer, nil
}

// Err returns nil if the receiver accepted the document.
func (a *Answer) Err() error {
	switch {
	case a.Code >= 200 && a.Code < 300:
		return nil
	case a.Code >= 300 && a.Code < 400:
		return fmt.Errorf("the webhook redirects (%s), which Daymill does not follow: configure the URL that it redirects to", a.Status)
	case a.Code == http.StatusTooManyRequests, a.Code == http.StatusServiceUnavailable:
		return fmt.Errorf("the webhook is busy (%s)", a.Status)
	default:
		return fmt.Errorf("the webhook answered %s", a.Status)
	}
}

// retryAfter parses a Retry-After header, which has seconds or an instant; 0 if it has neither.
func (c *Client) retryAfter(header string) time.Duration {
	var after time.Duration
	if seconds, err := strconv.Atoi(header); err == nil {
		after = time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		after = at.Sub(c.config.Clock.Now())
	}
	return max(0, min(after, maxRetryAfter))
}
