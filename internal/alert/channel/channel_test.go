package channel_test

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/alert/channel"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/pace"
)

// certificate is that of the mail servers. The process trusts it.
var certificate tls.Certificate

// TestMain makes the process trust the certificate of the mail servers.
func TestMain(m *testing.M) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	certificate = server.TLS.Certificates[0]
	dir, err := os.MkdirTemp("", "alert")
	if err != nil {
		panic(err)
	}
	file := filepath.Join(dir, "ca.pem")
	err = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600)
	if err != nil || os.Setenv("SSL_CERT_FILE", file) != nil {
		panic("cannot trust the certificate")
	}
	server.Close()
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

const (
	user     = "mail user"
	password = "pass word/1"
)

// letter is a mail that a server received.
type letter struct {
	from, user string
	to         []string
	body       string
	tls        bool
}

// postbox is a mail server.
type postbox struct {
	mu      sync.Mutex
	letters []letter
	address string
}

type session struct {
	box    *postbox
	conn   *smtp.Conn
	letter letter
}

func (b *postbox) NewSession(conn *smtp.Conn) (smtp.Session, error) {
	return &session{box: b, conn: conn}, nil
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, given, secret string) error {
		if given != user || secret != password {
			return errors.New("the password " + secret + " is wrong")
		}
		s.letter.user = given
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.letter.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.letter.to = append(s.letter.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	body, err := io.ReadAll(r)
	s.letter.body = string(body)
	_, s.letter.tls = s.conn.TLSConnectionState()
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.box.letters = append(s.box.letters, s.letter)
	return err
}

func (*session) Reset()        {}
func (*session) Logout() error { return nil }

// receive starts a mail server: with STARTTLS, encrypted from the start, or without TLS.
func receive(t *testing.T, starttls, encrypted bool) *postbox {
	t.Helper()
	box := &postbox{}
	server := smtp.NewServer(box)
	secure := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	if starttls {
		server.TLSConfig = secure
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	box.address = listener.Addr().String()
	if encrypted {
		listener = tls.NewListener(listener, secure)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		_ = listener.Close() // The server may not serve yet, and then does not know the listener.
		<-stopped
	})
	return box
}

func sending(t *testing.T, kind string, s channel.Settings, variables map[string]string) channel.Sender {
	t.Helper()
	sender, err := channel.Sending(kind, s, channel.Environment{Clock: pace.SystemClock{}, Lookup: func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	}})
	require.NoError(t, err)
	return sender
}

func message(event string) channel.Message {
	m := channel.Message{ID: "6c1f7b1e-0000-4000-8000-000000000001", Event: event, CreatedAt: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)}
	if event != channel.Test {
		m.Alert = channel.Alert{
			ID: 7, Finding: "failed", Level: health.Bad, Sentence: "2 dates <failed> & wait\r\nBcc: x@example.com", Command: "daymill status",
			Link: "https://daymill.example.com/dates?state=failed", BeganAt: m.CreatedAt.Add(-time.Hour),
		}
	}
	if event == channel.Close {
		m.Alert.EndedAt = &m.CreatedAt
	}
	return m
}

func TestMail(t *testing.T) {
	t.Parallel()
	settings := channel.Settings{URL: "$MAIL", From: "Daymill <daymill@example.com>", To: []string{"a@example.com", "b@example.com"}, AllowPrivate: true}
	login := "mail%20user:pass%20word%2F1@"

	t.Run("Plain", func(t *testing.T) {
		t.Parallel()
		box := receive(t, false, false)
		refused := sending(t, channel.Mail, settings, map[string]string{"MAIL": "smtp://" + box.address}).Send(t.Context(), message(channel.Open))
		require.ErrorContains(t, refused, "STARTTLS")
		require.Empty(t, box.letters)
		plain := settings
		plain.Plain = true
		sender := sending(t, channel.Mail, plain, map[string]string{"MAIL": "smtp://" + box.address})
		require.NoError(t, sender.Send(t.Context(), message(channel.Close)))
		require.Len(t, box.letters, 1)
		require.False(t, box.letters[0].tls)
	})

	t.Run("Private", func(t *testing.T) {
		t.Parallel()
		box := receive(t, true, false)
		public := settings
		public.AllowPrivate = false
		for _, scheme := range []string{"smtp://", "smtps://"} {
			err := sending(t, channel.Mail, public, map[string]string{"MAIL": scheme + box.address}).Send(t.Context(), message(channel.Test))
			require.ErrorContains(t, err, "not a public address")
		}
	})

	t.Run("StartTLS", func(t *testing.T) {
		t.Parallel()
		box := receive(t, true, false)
		sender := sending(t, channel.Mail, settings, map[string]string{"MAIL": "smtp://" + login + box.address})
		require.NoError(t, sender.Send(t.Context(), message(channel.Open)))
		require.Len(t, box.letters, 1)
		got := box.letters[0]
		require.True(t, got.tls)
		require.Equal(t, []string{user, "daymill@example.com", "a@example.com", "b@example.com"}, append([]string{got.user, got.from}, got.to...))
		require.Contains(t, got.body, "Message-ID: <6c1f7b1e-0000-4000-8000-000000000001@daymill>\r\n")
		require.Contains(t, got.body, "https://daymill.example.com/dates?state")
		head, _, _ := strings.Cut(got.body, "\r\n\r\n")
		require.NotContains(t, head, "\nBcc:", "the sentence adds no header")
	})

	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		box := receive(t, false, true)
		sender := sending(t, channel.Mail, settings, map[string]string{"MAIL": "smtps://" + login + box.address})
		require.NoError(t, sender.Send(t.Context(), message(channel.Test)))
		require.Len(t, box.letters, 1)
		require.Equal(t, user, box.letters[0].user)
	})

	// An error has no password, even if the server repeats it.
	t.Run("WrongPassword", func(t *testing.T) {
		t.Parallel()
		box := receive(t, true, false)
		sender := sending(t, channel.Mail, settings, map[string]string{"MAIL": "smtp://mail%20user:hunter2secret@" + box.address})
		err := sender.Send(t.Context(), message(channel.Open))
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2secret")
		require.Empty(t, box.letters)
	})
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"
	bodies, headers := []string{}, []http.Header{}
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies, headers = append(bodies, string(body)), append(headers, r.Header)
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	variables := map[string]string{"HOOK": server.URL + "/services/T0/hunter2secret", "KEY": secret}
	hook := sending(t, channel.Webhook, channel.Settings{URL: "$HOOK", Secret: "$KEY", AllowPrivate: true}, variables)
	slack := sending(t, channel.Slack, channel.Settings{URL: "$HOOK", AllowPrivate: true}, variables)

	require.NoError(t, hook.Send(t.Context(), message(channel.Close)))
	verifier, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	require.NoError(t, verifier.Verify([]byte(bodies[0]), headers[0]))
	require.Error(t, verifier.Verify([]byte(bodies[0]+" "), headers[0]))
	require.Equal(t, message(channel.Close).ID, headers[0].Get("Webhook-Id"))
	var document struct {
		Type string        `json:"type"`
		Data channel.Alert `json:"data"`
	}
	require.NoError(t, json.Unmarshal([]byte(bodies[0]), &document))
	require.Equal(t, "alert.close", document.Type)
	require.Equal(t, message(channel.Close).Alert, document.Data)

	require.NoError(t, slack.Send(t.Context(), message(channel.Open)))
	var said struct {
		Text string `json:"text"`
	}
	require.NoError(t, json.Unmarshal([]byte(bodies[1]), &said))
	require.Contains(t, said.Text, ":red_circle: *Daymill*: 2 dates &lt;failed&gt; &amp; wait")

	status = http.StatusTooManyRequests
	err = slack.Send(t.Context(), message(channel.Open))
	var busy *channel.BusyError
	require.ErrorAs(t, err, &busy)
	require.Equal(t, 2*time.Minute, busy.After)

	err = sending(t, channel.Slack, channel.Settings{URL: "$HOOK"}, variables).Send(t.Context(), message(channel.Open))
	require.ErrorContains(t, err, "not a public address")
	require.NotContains(t, err.Error(), "hunter2secret")
}

func TestSending(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"":                             "set MAIL where the process runs",
		"smtp://user:hunter2 secret@h": "write smtp://user:password@host:587",
		"smtp://h:0":                   "write smtp://user:password@host:587",
		"https://hunter2.example":      "write smtp://user:password@host:587",
	} {
		_, err := channel.Sending(channel.Mail, channel.Settings{URL: "$MAIL"}, channel.Environment{Lookup: func(string) (string, bool) { return value, true }})
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
	}
}
