// Package channel sends messages of alerts to people: as a webhook with the signature of Standard Webhooks, in Slack's format, or as mail. It
// keeps no state. Package alert decides what is sent, and when.
package channel

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/text"
)

// Kinds of channels.
const (
	Webhook = "webhook"
	Slack   = "slack"
	Mail    = "mail"
)

// Kinds returns the kinds of channels.
func Kinds() []string { return []string{Webhook, Slack, Mail} }

// Settings are the settings of a channel. URL and Secret are references to environment variables, such as $OPS_URL, because settings are stored.
type Settings struct {
	URL    string `json:"url"`
	Secret string `json:"secret,omitempty"` // of a webhook: signs
	// From is the sender of mail, and To its recipients.
	From string   `json:"from,omitempty"`
	To   []string `json:"to,omitempty"`
	// AllowPrivate allows loopback, private and other special addresses.
	AllowPrivate bool `json:"allow_private,omitempty"`
	// Plain allows mail without TLS, for a server in one's own network.
	Plain bool `json:"plain,omitempty"`
}

// Fields returns the settings that a kind has besides name, kind, url and level.
func Fields(kind string) []string {
	switch kind {
	case Webhook:
		return []string{"secret", "allow_private"}
	case Slack:
		return []string{"allow_private"}
	default:
		return []string{"from", "to", "allow_private", "plain"}
	}
}

// Problem is a mistake in a setting.
type Problem struct{ Field, Text string }

var reference = regexp.MustCompile(`^\$([A-Za-z_][A-Za-z0-9_]*)$`)

// Check returns the mistakes in the settings of a kind. It does not read the environment.
func Check(kind string, s Settings) (problems []Problem) {
	for _, named := range []struct{ field, value string }{{"url", s.URL}, {"secret", s.Secret}} {
		if !reference.MatchString(named.value) && (named.value != "" || named.field == "url") {
			// The value may be a secret, so do not quote it.
			problems = append(problems, Problem{named.field, fmt.Sprintf(
				"write the name of an environment variable, such as $ALERT_%s: settings are stored, so they must not contain secrets", strings.ToUpper(named.field))})
		}
	}
	if kind != Mail {
		return problems
	}
	if _, err := mail.ParseAddress(s.From); err != nil {
		problems = append(problems, Problem{"from", "say who sends the mail: from: daymill@example.com"})
	}
	if len(s.To) == 0 {
		problems = append(problems, Problem{"to", "say who receives the mail: to: [ops@example.com]"})
	}
	for _, to := range s.To {
		if _, err := mail.ParseAddress(to); err != nil {
			problems = append(problems, Problem{"to", fmt.Sprintf("%q is not an address for mail: write ops@example.com", to)})
		}
	}
	return problems
}

// Events of messages.
const (
	Open  = "open"  // something is wrong
	Close = "close" // it is well again
	Test  = "test"  // somebody tests the channel
)

// Message is what a channel sends.
type Message struct {
	// ID is the same whenever the message is sent again, so that a receiver can drop the repeat.
	ID        string
	Event     string
	CreatedAt time.Time
	Alert     Alert // zero in a test
}

// Alert is what a message is about.
type Alert struct {
	ID       int64        `json:"id"`
	Finding  string       `json:"finding"` // the name of the health check
	Level    health.Level `json:"level"`
	Sentence string       `json:"sentence"`
	Command  string       `json:"command,omitempty"` // the daymill command that fixes or shows it
	Link     string       `json:"link,omitempty"`    // the page that fixes or shows it
	BeganAt  time.Time    `json:"began_at"`
	EndedAt  *time.Time   `json:"ended_at,omitempty"`
}

// subject returns the message in one line.
func (m Message) subject() string {
	switch m.Event {
	case Open:
		return text.Line(m.Alert.Sentence)
	case Close:
		return "Well again: " + text.Line(m.Alert.Sentence)
	default:
		return "This is a test of Daymill's alerts."
	}
}

// details returns more lines for people.
func (m Message) details() (lines []string) {
	const form = "2006-01-02 15:04 MST"
	if m.Event == Test {
		return []string{"Somebody tests this channel. Nothing is wrong."}
	}
	lines = append(lines, "Since "+m.Alert.BeganAt.UTC().Format(form)+".")
	if m.Alert.EndedAt != nil {
		lines = []string{"From " + m.Alert.BeganAt.UTC().Format(form) + " to " + m.Alert.EndedAt.UTC().Format(form) + "."}
	}
	if m.Event == Open && m.Alert.Command != "" {
		lines = append(lines, "Command: "+text.Line(m.Alert.Command))
	}
	if m.Alert.Link != "" {
		lines = append(lines, m.Alert.Link)
	}
	return lines
}

// Sender sends the messages of one channel.
type Sender interface {
	// Send sends a message once. The error contains no secret.
	Send(ctx context.Context, message Message) error
}

// BusyError is the error of a receiver that says when to try again.
type BusyError struct {
	After time.Duration
	Err   error
}

func (e *BusyError) Error() string { return e.Err.Error() }

func (e *BusyError) Unwrap() error { return e.Err }

// Environment is what a process knows of its surroundings.
type Environment struct {
	Lookup func(name string) (string, bool)
	Clock  pace.Clock
}

// ErrVariable says that a process cannot send, because an environment variable is not set.
var ErrVariable = errors.New("an environment variable is not set")

// sendTimeout is how long an attempt may take.
const sendTimeout = 8 * time.Second

// Sending returns the sender of a channel. It does not connect.
func Sending(kind string, s Settings, env Environment) (Sender, error) {
	address, err := env.read(s.URL)
	if err != nil {
		return nil, err
	}
	secret, err := env.read(s.Secret)
	if err != nil {
		return nil, err
	}
	var made Sender
	switch kind {
	case Webhook:
		made, err = newWebhook(s, address, secret, env)
	case Slack:
		made, err = newSlack(s, address, env)
	case Mail:
		made, err = newMail(s, address)
	default:
		err = fmt.Errorf("there is no kind %q of channels: use %s", kind, strings.Join(Kinds(), ", "))
	}
	if err != nil {
		return nil, err
	}
	return discreet{made, secrets(address, secret)}, nil
}

func (e Environment) read(named string) (string, error) {
	match := reference.FindStringSubmatch(named)
	if match == nil {
		return "", nil
	}
	value, _ := e.Lookup(match[1])
	if value == "" {
		return "", fmt.Errorf("%w: set %s where the process runs", ErrVariable, match[1])
	}
	return value, nil
}

// discreet removes secrets from errors.
type discreet struct {
	Sender

	secrets []string
}

func (d discreet) Send(ctx context.Context, message Message) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err := d.Sender.Send(ctx, message)
	if err == nil {
		return nil
	}
	said := err.Error()
	for _, secret := range d.secrets {
		said = strings.ReplaceAll(said, secret, "…")
	}
	failed := errors.New(text.Line(said)) //nolint:err113 // It has no secret.
	if busy, ok := errors.AsType[*BusyError](err); ok {
		return &BusyError{After: busy.After, Err: failed}
	}
	return failed
}

// secrets returns the texts that no error may contain.
func secrets(address, secret string) []string {
	all := []string{address, secret}
	if parsed, err := url.Parse(address); err == nil {
		password, _ := parsed.User.Password()
		all = append(all, password, url.QueryEscape(password))
		if len(parsed.Path) > 1 {
			all = append(all, parsed.Path)
		}
		all = append(all, parsed.RawQuery)
	}
	all = slices.DeleteFunc(all, func(one string) bool { return len(one) < 4 })
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}
