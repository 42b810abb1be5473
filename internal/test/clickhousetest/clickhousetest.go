// Package clickhousetest starts a clickhouse-server for a test.
package clickhousetest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Server is a ClickHouse that keeps its data and its port when it restarts.
type Server struct {
	URL string

	path, dir, password string
	port                int
	cmd                 *exec.Cmd
}

// Start starts a ClickHouse, which ends with the test.
func Start(t *testing.T, password string) *Server {
	t.Helper()
	s := &Server{path: find(t), dir: t.TempDir(), password: password}
	for range 5 { // Another process may take the port in the meantime.
		s.port = freePort(t)
		s.URL = "http://default:" + password + "@127.0.0.1:" + strconv.Itoa(s.port)
		s.configure(t)
		if s.start(t) {
			t.Cleanup(s.kill)
			return s
		}
	}
	log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	require.Fail(t, "clickhouse-server does not start", string(log))
	return nil
}

func find(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("clickhouse-server")
	if err != nil {
		path = "/usr/sbin/clickhouse-server" // Debian's path.
		_, err = os.Stat(path)
	}
	require.NoError(t, err, "make setup installs it")
	return path
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func (s *Server) configure(t *testing.T) {
	t.Helper()
	const config = `<?xml version="1.0"?>
<yandex>
<logger><level>warning</level><console>true</console></logger>
<http_port>%d</http_port><listen_host>127.0.0.1</listen_host>
<path>%s/data/</path><tmp_path>%s/tmp/</tmp_path>
<users_config>%s/users.xml</users_config><default_profile>default</default_profile><default_database>default</default_database>
<mark_cache_size>5368709</mark_cache_size>
</yandex>`
	const users = `<?xml version="1.0"?>
<yandex>
<profiles><default><max_memory_usage>1000000000</max_memory_usage></default></profiles>
<users><default><password>%s</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default></users>
<quotas><default></default></quotas>
</yandex>`
	write := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600))
	}
	write("config.xml", fmt.Sprintf(config, s.port, s.dir, s.dir, s.dir))
	write("users.xml", fmt.Sprintf(users, s.password))
}

// start reports whether the server answers.
func (s *Server) start(t *testing.T) bool {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer log.Close()
	s.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), s.path, "--config-file="+filepath.Join(s.dir, "config.xml"))
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.dir, log, log
	require.NoError(t, s.cmd.Start())
	ended := make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(ended) }()
	for {
		if _, err := s.query(t.Context(), "SELECT 1"); err == nil {
			return true
		}
		select {
		case <-ended:
			return false
		case <-t.Context().Done():
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Query runs a statement, which must succeed, and returns what the server answers.
func (s *Server) Query(t *testing.T, statement string) string {
	t.Helper()
	answer, err := s.query(t.Context(), statement)
	require.NoError(t, err)
	return answer
}

func (s *Server) query(ctx context.Context, statement string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, strings.NewReader(statement))
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("ClickHouse answered %s", answer)
	}
	return string(answer), err
}

// Stop kills the server.
func (s *Server) Stop(*testing.T) { s.kill() }

func (s *Server) kill() {
	_ = s.cmd.Process.Kill()
	_, _ = s.cmd.Process.Wait()
}

// Start starts it again, with the data that it had.
func (s *Server) Start(t *testing.T) {
	t.Helper()
	require.True(t, s.start(t))
}
