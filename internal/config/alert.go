package config

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/daymill/daymill/internal/alert"
	"github.com/daymill/daymill/internal/alert/channel"
	"github.com/daymill/daymill/internal/document"
	"github.com/daymill/daymill/internal/health"
)

// alerts reads who is told what is wrong.
func (p *parser) alerts(value *yaml.Node) *alert.Wanted {
	wanted := &alert.Wanted{Lasting: alert.DefaultLasting, NoWorker: alert.DefaultNoWorker}
	duration := func(to *time.Duration, least time.Duration) func(*yaml.Node) {
		return func(value *yaml.Node) {
			text, ok := p.Text(value)
			if !ok {
				return
			}
			read, err := time.ParseDuration(text)
			if err != nil || read < least || read > 24*time.Hour {
				p.Wrongf(value, "write a time from %s to 24h, such as 5m", least)
			}
			*to = read
		}
	}
	p.Object(value, "alerts", document.Fields{
		"after":     duration(&wanted.Lasting, 0),
		"no_worker": duration(&wanted.NoWorker, 2*time.Minute),
		"pages": func(value *yaml.Node) {
			text, ok := p.Text(value)
			if address, err := url.Parse(text); ok && (err != nil || address.Host == "" || address.User != nil || address.RawQuery != "" ||
				address.Scheme != "https" && address.Scheme != "http") {
				p.Wrongf(value, "write the address of the pages, such as https://daymill.example.com, without a password and a query")
			}
			wanted.Pages = text
		},
		"channels": func(value *yaml.Node) {
			for _, item := range p.List(value, "channels") {
				one := p.channel(item)
				if one.Name != "" && slices.ContainsFunc(wanted.Channels, func(other alert.Channel) bool { return other.Name == one.Name }) {
					p.Wrongf(item, "there is another channel %q: give each a different name", one.Name)
				}
				wanted.Channels = append(wanted.Channels, one)
			}
		},
	})
	if len(wanted.Channels) > mostChannels {
		p.Wrongf(value, "there are %d channels: use %d at most", len(wanted.Channels), mostChannels)
	}
	return wanted
}

// mostChannels is how many channels there may be.
const mostChannels = 50

// channel reads one channel.
func (p *parser) channel(item *yaml.Node) alert.Channel {
	one := alert.Channel{Level: health.Wait}
	set := &one.Settings
	at := map[string]*yaml.Node{}
	text := func(to *string) func(*yaml.Node) { return func(value *yaml.Node) { *to, _ = p.Text(value) } }
	boolean := func(to *bool) func(*yaml.Node) {
		return func(value *yaml.Node) {
			if value.Kind != yaml.ScalarNode || value.Tag != "!!bool" || value.Decode(to) != nil {
				p.Wrongf(value, "write true or false")
			}
		}
	}
	known := document.Fields{
		"name": func(value *yaml.Node) { one.Name = p.name(value, "channel") },
		"kind": func(value *yaml.Node) {
			one.Kind, _ = p.Text(value)
			if !slices.Contains(channel.Kinds(), one.Kind) {
				p.Wrongf(value, "there is no kind %q of channels: use %s", one.Kind, strings.Join(channel.Kinds(), ", "))
			}
		},
		"level": func(value *yaml.Node) {
			level, _ := p.Text(value)
			if one.Level = health.Level(level); one.Level != health.Wait && one.Level != health.Bad {
				p.Wrongf(value, "write bad, for what needs a person at once, or wait, for everything")
			}
		},
		"url": text(&set.URL), "secret": text(&set.Secret), "from": text(&set.From),
		"to":            func(value *yaml.Node) { set.To = p.Texts(value, nil) },
		"allow_private": boolean(&set.AllowPrivate), "plain": boolean(&set.Plain),
	}
	all := document.Fields{}
	for field, read := range known {
		all[field] = func(value *yaml.Node) { at[field] = value; read(value) }
	}
	if !p.Object(item, "a channel", all) {
		return one
	}
	for _, needed := range []string{"name", "kind", "url"} {
		if at[needed] == nil {
			p.Wrongf(item, "the channel has no %s: it needs name, kind and url", needed)
		}
	}
	if !slices.Contains(channel.Kinds(), one.Kind) {
		return one
	}
	for _, field := range []string{"secret", "from", "to", "allow_private", "plain"} {
		if where := at[field]; where != nil && !slices.Contains(channel.Fields(one.Kind), field) {
			p.Wrongf(where, "a channel of kind %s has no %s: it has %s", one.Kind, field, strings.Join(channel.Fields(one.Kind), ", "))
		}
	}
	for _, problem := range channel.Check(one.Kind, *set) {
		switch where := at[problem.Field]; {
		case where != nil:
			p.Wrongf(where, "%s", problem.Text)
		case problem.Field != "url":
			p.Wrongf(item, "%s", problem.Text)
		}
	}
	return one
}
