package channel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/wneessen/go-mail"

	"github.com/daymill/daymill/internal/webhook"
)

// errMailURL does not quote the URL, which has a password.
var errMailURL = errors.New("the URL of the mail server cannot be used: write smtp://user:password@host:587 (STARTTLS) or smtps://user:password@host:465, " +
	"with special characters of the password percent-encoded")

// Ports of mail servers.
const (
	submissionPort = 587
	tlsPort        = 465
)

// mailer sends messages as mail.
type mailer struct {
	settings Settings
	host     string
	options  []mail.Option
}

func newMail(s Settings, address string) (Sender, error) {
	target, err := url.Parse(address)
	if err != nil || target.Hostname() == "" || strings.Trim(target.Path, "/") != "" || target.Scheme != "smtp" && target.Scheme != "smtps" {
		return nil, errMailURL
	}
	port := submissionPort
	if target.Scheme == "smtps" {
		port = tlsPort
	}
	if target.Port() != "" {
		if port, err = strconv.Atoi(target.Port()); err != nil || port < 1 || port > 1<<16-1 {
			return nil, errMailURL
		}
	}
	policy := mail.TLSMandatory
	if s.Plain {
		policy = mail.TLSOpportunistic
	}
	m := &mailer{settings: s, host: target.Hostname()}
	dialer := webhook.Dialer(sendTimeout, s.AllowPrivate)
	secure := &tls.Config{ServerName: m.host, MinVersion: tls.VersionTLS12}
	dial := dialer.DialContext
	if target.Scheme == "smtps" {
		dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			return (&tls.Dialer{NetDialer: dialer, Config: secure}).DialContext(ctx, network, address)
		}
		policy = mail.NoTLS // The connection itself is encrypted.
	}
	m.options = []mail.Option{
		mail.WithPort(port), mail.WithTLSPolicy(policy), mail.WithTLSConfig(secure), mail.WithTimeout(sendTimeout), mail.WithDialContextFunc(dial),
	}
	if user := target.User.Username(); user != "" {
		password, _ := target.User.Password()
		m.options = append(m.options, mail.WithOpportunisticSMTPAuth(
			mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthSCRAMSHA1, mail.SMTPAuthPlain, mail.SMTPAuthLogin,
		), mail.WithUsername(user), mail.WithPassword(password))
	}
	if _, err := mail.NewClient(m.host, m.options...); err != nil {
		return nil, fmt.Errorf("prepare mail: %w", err)
	}
	return m, nil
}

// Send sends a message as mail. Its Message-ID is the message's id.
func (m *mailer) Send(ctx context.Context, message Message) error {
	letter := mail.NewMsg()
	if err := letter.From(m.settings.From); err != nil {
		return fmt.Errorf("the sender of the mail: %w", err)
	}
	if err := letter.To(m.settings.To...); err != nil {
		return fmt.Errorf("the recipients of the mail: %w", err)
	}
	letter.Subject("Daymill: " + message.subject())
	letter.SetMessageIDWithValue(message.ID + "@daymill")
	letter.SetDateWithValue(message.CreatedAt)
	letter.SetUserAgent("daymill")
	letter.SetBodyString(mail.TypeTextPlain, message.subject()+"\n\n"+strings.Join(message.details(), "\n")+"\n")
	client, err := mail.NewClient(m.host, m.options...)
	if err != nil {
		return fmt.Errorf("prepare mail: %w", err)
	}
	if err := client.DialAndSendWithContext(ctx, letter); err != nil {
		return fmt.Errorf("the mail cannot be sent: %w", err)
	}
	return nil
}
