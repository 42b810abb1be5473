package postgres

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// wire is a connection to Postgres that measures its round trip: the shortest time between a send and the first byte of the
// answer. The rest of a statement's time is the server's work.
type wire struct {
	net.Conn

	mu     sync.Mutex
	sent   time.Time // when the unanswered data was sent; zero if there is none
	least  time.Duration
	before time.Duration // minimum of the measurements before those of least
	turns  int
	waited time.Duration
}

// turnsPerLeast is how many round trips the minimum covers, and as many before them. So a longer network path is noticed.
const turnsPerLeast = 100

// measured makes all connections of a configuration measure their round trips.
func measured(config *pgx.ConnConfig) {
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &wire{Conn: conn}, nil
	}
}

// wireOf returns the wire of a connection; nil if it has none.
func wireOf(conn *pgconn.PgConn) *wire {
	below := conn.Conn()
	if encrypted, ok := below.(*tls.Conn); ok {
		below = encrypted.NetConn()
	}
	w, _ := below.(*wire)
	return w
}

// Write sends data and starts the clock.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.sent = time.Now() //nolint:forbidigo // Network time: no test replaces it.
	w.mu.Unlock()
	return w.Conn.Write(p)
}

// Read receives data and stops the clock.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.answered()
	}
	return n, err
}

func (w *wire) answered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sent.IsZero() {
		return
	}
	took := time.Since(w.sent)
	w.sent = time.Time{}
	if w.turns++; w.turns%turnsPerLeast == 0 {
		w.before, w.least = w.least, 0
	}
	if w.least == 0 || took < w.least {
		w.least = took
	}
	w.waited += w.trip()
}

// trip returns the round trip. The caller holds the lock.
func (w *wire) trip() time.Duration {
	if w.before > 0 {
		return min(w.least, w.before)
	}
	return w.least
}

// RoundTrip returns the time of one round trip; 0 if it is not known.
func (w *wire) RoundTrip() time.Duration {
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.trip()
}

// Waited returns the time of all round trips so far.
func (w *wire) Waited() time.Duration {
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waited
}
