package pgserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
)

// Follower creates a streaming follower of a running server, with the same settings, on another port and in a temporary directory. It
// accepts queries when Follower returns. It is stopped and closed like any server, before or after its primary.
func (s *Server) Follower(ctx context.Context) (*Server, error) {
	f, err := prepare(ctx, s.Binaries, "", s.InMemory)
	if err != nil {
		return nil, err
	}
	f.settings = maps.Clone(s.settings)
	err = f.run(ctx, "pg_basebackup", "--pgdata", f.data(), "--dbname", s.URL("postgres"),
		"--wal-method", "stream", "--checkpoint", "fast", "--no-sync", "--write-recovery-conf")
	if err != nil {
		err = fmt.Errorf("copy the cluster for a follower: %w", err)
	} else {
		err = f.startSomewhere(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, f.close(ctx))
	}
	return f, nil
}

// Promote makes a follower a primary, and returns when it accepts writes.
func (s *Server) Promote(ctx context.Context) error {
	if err := s.run(ctx, "pg_ctl", "promote", "--pgdata", s.data(), "--wait", "--timeout", "300"); err != nil {
		return fmt.Errorf("promote the server: %w", err)
	}
	return nil
}
