package postgres

import (
	"context"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

// unanswered is how long the other machine may leave data unanswered before the connection fails. Linux waits 15 minutes otherwise, for
// example after a failover to another machine. A busy server reads data sooner than that.
const unanswered = 2 * time.Minute

// limited makes all connections of a configuration fail if the other machine is gone. If the option cannot be set, they work as well.
func limited(config *pgx.ConnConfig) {
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if tcp, is := conn.(*net.TCPConn); err == nil && is {
			if raw, err := tcp.SyscallConn(); err == nil {
				_ = raw.Control(func(fd uintptr) {
					_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unanswered.Milliseconds()))
				})
			}
		}
		return conn, err
	}
}
