package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync/atomic"
)

// proxy counts the bytes that go over the wire, both ways. It takes time itself, so turns through it are not timed.
type proxy struct {
	listener net.Listener
	to       string
	bytes    atomic.Int64
}

func listen(ctx context.Context, to string) (*proxy, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: listener, to: to}
	go p.serve(ctx)
	return p, nil
}

// through returns a database's URL through the proxy.
func (p *proxy) through(address string) (string, error) {
	return withHost(address, p.listener.Addr().String())
}

// withHost replaces the host and port of a database's URL.
func withHost(address, host string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	u.Host = host
	return u.String(), nil
}

func (p *proxy) serve(ctx context.Context) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.relay(ctx, client)
	}
}

func (p *proxy) relay(ctx context.Context, client net.Conn) {
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.to)
	if err != nil {
		return
	}
	defer server.Close()
	done := make(chan struct{})
	go func() {
		p.pump(server, client)
		_ = server.Close() // The other direction ends with it.
		close(done)
	}()
	p.pump(client, server)
	_ = client.Close() // See above.
	<-done
}

func (p *proxy) pump(to io.Writer, from io.Reader) {
	_, _ = io.Copy(io.MultiWriter(to, counter{&p.bytes}), from) // A connection that ends is no error here.
}

type counter struct{ bytes *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.bytes.Add(int64(len(p)))
	return len(p), nil
}

func (p *proxy) close() error {
	if err := p.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
