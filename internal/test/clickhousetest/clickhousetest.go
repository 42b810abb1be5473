// Package clickhousetest starts a clickhouse-server for a test.
package clickhousetest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/servertest"
)

// Server is a ClickHouse that keeps its data and its port when it restarts.
type Server struct {
	*servertest.Server

	URL string
}

// Start starts a ClickHouse, which ends with the test.
func Start(t *testing.T, password string) *Server {
	t.Helper()
	path, err := exec.LookPath("clickhouse-server")
	if err != nil {
		path = "/usr/sbin/clickhouse-server" // Debian's path.
		_, err = os.Stat(path)
	}
	require.NoError(t, err, "make setup installs it")
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Log(string(text))
		}
	})
	url := func(port int) string { return "http://default:" + password + "@127.0.0.1:" + strconv.Itoa(port) }
	s := &Server{Server: servertest.Start(t, servertest.Config{
		Command: func(ctx context.Context, port int) *exec.Cmd {
			configure(t, dir, password, port)
			cmd := exec.CommandContext(ctx, path, "--config-file="+filepath.Join(dir, "config.xml"))
			cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
			return cmd
		},
		Ready: func(ctx context.Context, port int) error {
			_, err := query(ctx, url(port), "SELECT 1")
			return err
		},
	})}
	s.URL = url(s.Port)
	return s
}

func configure(t *testing.T, dir, password string, port int) {
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
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	write("config.xml", fmt.Sprintf(config, port, dir, dir, dir))
	write("users.xml", fmt.Sprintf(users, password))
}

// Query runs a statement, which must succeed, and returns what the server answers.
func (s *Server) Query(t *testing.T, statement string) string {
	t.Helper()
	answer, err := query(t.Context(), s.URL, statement)
	require.NoError(t, err)
	return answer
}

func query(ctx context.Context, url, statement string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(statement))
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
