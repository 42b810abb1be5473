package channel

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/webhook"
)

// hook posts messages as JSON, signed.
type hook struct {
	client *webhook.Client
	body   func(message Message) any
}

func newWebhook(s Settings, address, secret string, env Environment) (Sender, error) {
	client, err := webhook.Open(webhook.Config{URL: address, Secret: secret, AllowPrivate: s.AllowPrivate, Timeout: sendTimeout, Clock: env.Clock})
	return &hook{client, document}, err
}

func newSlack(s Settings, address string, env Environment) (Sender, error) {
	client, err := webhook.Open(webhook.Config{URL: address, AllowPrivate: s.AllowPrivate, Timeout: sendTimeout, Clock: env.Clock})
	return &hook{client, slackDocument}, err
}

// document returns the body of a webhook, in the form that Standard Webhooks recommends.
func document(m Message) any {
	data := any(m.Alert)
	if m.Event == Test {
		data = map[string]string{"sentence": m.subject()}
	}
	return struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      any       `json:"data"`
	}{"alert." + m.Event, m.CreatedAt.UTC(), data}
}

// slackDocument returns the body of an incoming webhook of Slack, which Mattermost and Discord (at /slack) accept as well.
func slackDocument(m Message) any {
	sign := ":information_source:"
	switch {
	case m.Event == Close:
		sign = ":white_check_mark:"
	case m.Event == Open && m.Alert.Level == health.Bad:
		sign = ":red_circle:"
	case m.Event == Open:
		sign = ":warning:"
	}
	escaped := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	lines := append([]string{m.subject()}, m.details()...)
	return map[string]string{"text": sign + " *Daymill*: " + escaped.Replace(strings.Join(lines, "\n"))}
}

// Send posts a message.
func (h *hook) Send(ctx context.Context, message Message) error {
	body, err := json.Marshal(h.body(message))
	if err != nil {
		return fmt.Errorf("write the message: %w", err)
	}
	defer h.client.Close()
	answer, err := h.client.Post(ctx, message.ID, body)
	if err != nil {
		return err
	}
	if err = answer.Err(); err != nil && answer.RetryAfter > 0 {
		return &BusyError{After: answer.RetryAfter, Err: err}
	}
	return err
}
