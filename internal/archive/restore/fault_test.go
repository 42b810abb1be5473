package restore_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	ossignal "os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/bucket"
	"github.com/daymill/daymill/internal/archive/keeper"
	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/archive/signal"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// archiverVariable makes the test's program an archiver: it has the URL of the database and the place of the archive, and init or base if the
// program begins the archive, or makes a base, instead, or often if it seals segments often.
const archiverVariable = "DAYMILL_TEST_ARCHIVER"

// archiver keeps an archive until the process is killed, and prints a line when it starts and for each error.
func archiver(ctx context.Context, arguments string) error {
	ossignal.Ignore(syscall.SIGXFSZ) // A file that may not grow is an error, as with a full disk.
	fields := strings.Fields(arguments)
	url, dir, verb := fields[0], fields[1], strings.Join(fields[2:], "")
	db, err := postgres.Open(ctx, postgres.Config{URL: url, StatementTimeout: time.Minute})
	for err != nil && (verb == "" || verb == "often") { // Postgres is starting. A supervisor would start the archiver again.
		_ = hastyClock{}.Sleep(ctx, time.Second)
		db, err = postgres.Open(ctx, postgres.Config{URL: url, StatementTimeout: time.Minute})
	}
	if err != nil {
		return err
	}
	defer db.Close()
	place, err := bucket.Open(ctx, dir)
	if err != nil {
		return err
	}
	config := base.Config{Source: db, URL: url, Store: place, Clock: hastyClock{}}
	age := time.Duration(0)
	switch verb {
	case "init":
		_, err := base.Init(ctx, config, base.Options{})
		return err
	case "base":
		config.Jobs = 3
		_, err := base.Take(ctx, config, "a test")
		return err
	case "often":
		age = 100 * time.Millisecond
	}
	k := keeper.Keeper{
		Config: config, Size: 20_000, Age: age,
		Started: func() { fmt.Fprintln(os.Stdout, "started") }, Listeners: telemetry.Listeners{errorsPrinted{}},
	}
	return k.Run(ctx)
}

type errorsPrinted struct{}

func (errorsPrinted) Listen(ctx context.Context, told telemetry.Signal) context.Context {
	if failed, is := told.(signal.Error); is {
		fmt.Fprintln(os.Stdout, failed.Err)
	}
	return ctx
}

// hastyClock waits a hundredth as long.
type hastyClock struct{ pace.SystemClock }

func (c hastyClock) Sleep(ctx context.Context, d time.Duration) error {
	return c.SystemClock.Sleep(ctx, d/100)
}

// faults is a server of S3 that fails as it is told to.
type faults struct {
	s3      http.Handler
	fault   atomic.Value // of string
	refused atomic.Int64 // requests since the fault began
}

func (f *faults) begin(fault string) {
	f.refused.Store(0)
	f.fault.Store(fault)
}

func (f *faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault, _ := f.fault.Load().(string)
	if fault != "" {
		defer f.refused.Add(1)
	}
	switch {
	case fault == "forbidden":
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`))
	case fault == "failing":
		w.WriteHeader(http.StatusInternalServerError)
	case fault == "lost answers" && r.Method == http.MethodPut: // It is done, but the caller does not learn of it.
		f.s3.ServeHTTP(httptest.NewRecorder(), r)
		w.WriteHeader(http.StatusInternalServerError)
	case fault == "slow":
		<-time.After(200 * time.Millisecond)
		f.s3.ServeHTTP(w, r)
	case fault == "hanging up":
		panic(http.ErrAbortHandler)
	default:
		f.s3.ServeHTTP(w, r)
	}
}

// errorsHeard keeps the errors that the keeper reported.
type errorsHeard struct {
	mu   sync.Mutex
	text string
}

func (h *errorsHeard) Listen(ctx context.Context, told telemetry.Signal) context.Context {
	if failed, is := told.(signal.Error); is {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.text += failed.Err.Error() + "\n"
	}
	return ctx
}

func (h *errorsHeard) all() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text
}

// TestFaults breaks what the archiver depends on while the application writes. Nothing is lost, and nothing is there twice: the tables
// have no key, so that a transaction that is restored twice would show.
func TestFaults(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_wal_senders": "20", "max_replication_slots": "20"})
	write := func(t *testing.T, b *testBundle, round int) {
		t.Helper()
		b.psql(t, "-c", "INSERT INTO t (round, v) SELECT "+strconv.Itoa(round)+", repeat('x', i) FROM generate_series(1, 40) AS i",
			"-c", "UPDATE t SET v = v || '!' WHERE id % 7 = 0", "-c", "CREATE TABLE made_"+strconv.Itoa(round)+" AS SELECT i FROM generate_series(1, 5) AS i")
	}
	const created = "CREATE TABLE t (id serial, round int, v text)"

	// Postgres crashes while pgbench writes. This test is alone on the server.
	func() {
		b := &testBundle{server: server, db: application(t, server)}
		b.begin(t)
		b.psql(t, "-c", created)
		bench, err := exec.LookPath("pgbench")
		require.NoError(t, err)
		output, err := exec.CommandContext(t.Context(), bench, "-i", "-q", "-s", "1", b.db.URL).CombinedOutput()
		require.NoError(t, err, string(output))
		process, _ := b.archiver(t)
		load := exec.CommandContext(t.Context(), bench, "-n", "-c", "2", "-t", "100000", b.db.URL)
		require.NoError(t, load.Start())
		require.Eventually(t, func() bool {
			return b.value(t, b.db.URL, "SELECT (count(*) > 50)::text FROM pgbench_history") == "true"
		}, 2*time.Minute, 20*time.Millisecond)
		require.NoError(t, server.Restart(t.Context(), pgserver.Immediate))
		require.Error(t, load.Wait()) // It has lost its connections, as has the pool.
		b.db.Reset()
		write(t, b, 0)
		b.caughtUp(t)
		kill(t, process)
		archive := b.chain(t)
		require.Empty(t, archive.Gaps)
		b.equal(t, b.restored(t, restore.Config{}))
	}()

	t.Run("BaseInterrupted", func(t *testing.T) {
		t.Parallel()
		baseInterrupted(t, server)
	})

	t.Run("Bucket", func(t *testing.T) {
		t.Parallel()
		front := &faults{s3: gofakes3.New(s3mem.New(), gofakes3.WithAutoBucket(true)).Server()}
		web := httptest.NewServer(front)
		t.Cleanup(web.Close)
		place, err := bucket.Open(t.Context(), "s3://backups/app?region=us-east-1&use_path_style=true&anonymous=true&endpoint="+web.URL)
		require.NoError(t, err)
		t.Cleanup(func() { _ = place.Close() })
		b := &testBundle{server: server, db: application(t, server), store: place}
		_, err = base.Init(t.Context(), b.config(), base.Options{Compression: store.Gzip})
		require.NoError(t, err)
		heard := &errorsHeard{}
		config := b.config()
		config.Clock = hastyClock{}
		k := keeper.Keeper{Config: config, Size: 3000, Age: 100 * time.Millisecond, Listeners: telemetry.Listeners{heard}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		b.psql(t, "-c", created)
		for round, fault := range []string{"failing", "forbidden", "hanging up", "lost answers", "slow"} {
			front.begin(fault)
			write(t, b, round)
			require.Eventually(t, func() bool { return front.refused.Load() > 6 }, 2*time.Minute, 10*time.Millisecond, fault)
			front.begin("")
			write(t, b, 10+round)
			b.caughtUp(t)
		}
		require.Contains(t, heard.all(), "AccessDenied")
		cancel()
		require.NoError(t, <-done)
		archive := b.chain(t)
		require.Empty(t, archive.Gaps)
		_, err = archive.Verify(t.Context())
		require.NoError(t, err)
		b.equal(t, b.restored(t, restore.Config{}))
	})

	// The archiver cannot make a file larger, as if the disk were full.
	t.Run("FullDisk", func(t *testing.T) {
		t.Parallel()
		b := &testBundle{server: server, db: application(t, server)}
		b.begin(t)
		b.psql(t, "-c", created)
		process, printed := b.archiver(t)
		limit := func(size string) {
			output, err := exec.CommandContext(t.Context(), "prlimit", "--pid", strconv.Itoa(process.Process.Pid), "--fsize="+size+":unlimited").CombinedOutput()
			require.NoError(t, err, string(output))
		}
		write(t, b, 0)
		b.caughtUp(t)
		limit("1500")
		for round := range 3 {
			write(t, b, 1+round)
		}
		require.Contains(t, <-printed, "file too large")
		limit("unlimited")
		b.caughtUp(t)
		kill(t, process)
		archive := b.chain(t)
		require.Empty(t, archive.Gaps)
		b.equal(t, b.restored(t, restore.Config{}))
	})

	t.Run("InitInterrupted", func(t *testing.T) {
		t.Parallel()
		initInterrupted(t, server)
	})

	// DAYMILL_ARCHIVE_KILLS says how often; `make archive-kills` kills 20 times.
	t.Run("Killed", func(t *testing.T) {
		t.Parallel()
		kills, err := strconv.Atoi(os.Getenv("DAYMILL_ARCHIVE_KILLS"))
		if err != nil {
			kills = 4
		}
		b := &testBundle{server: server, db: application(t, server)}
		b.begin(t)
		b.psql(t, "-c", created)
		bench, err := exec.LookPath("pgbench")
		require.NoError(t, err)
		output, err := exec.CommandContext(t.Context(), bench, "-i", "-q", "-s", "1", b.db.URL).CombinedOutput()
		require.NoError(t, err, string(output))
		for round := range kills {
			process, _ := b.archiver(t)
			// About as long as several segments take; the kill may come at any moment.
			output, err := exec.CommandContext(t.Context(), bench, "-n", "-c", "2", "-t", strconv.Itoa(60+37*round%100), b.db.URL).CombinedOutput()
			require.NoError(t, err, string(output))
			write(t, b, round)
			kill(t, process)
		}
		process, _ := b.archiver(t)
		b.caughtUp(t)
		kill(t, process)
		archive := b.chain(t)
		require.Empty(t, archive.Gaps)
		require.Greater(t, len(archive.Segments), 1)
		_, err = archive.Verify(t.Context())
		require.NoError(t, err)
		b.equal(t, b.restored(t, restore.Config{}))
	})
}

// archiver starts a process that archives, and waits until it does. It returns the lines that the process prints from then on.
func (b *testBundle) archiver(t *testing.T) (process *exec.Cmd, printed <-chan string) {
	t.Helper()
	process, output := b.program(t, "PATH="+os.Getenv("PATH"), "")
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(output); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	require.Equal(t, "started", <-lines)
	return process, lines
}

// program starts an archiver with a PATH, or what begins the archive or makes a base.
func (b *testBundle) program(t *testing.T, path, verb string) (process *exec.Cmd, output io.Reader) {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	process = exec.CommandContext(context.WithoutCancel(t.Context()), program)
	process.Env = append(os.Environ(), archiverVariable+"="+b.db.URL+" "+b.archive+" "+verb, path)
	process.Stderr = os.Stderr
	output, err = process.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, process.Start())
	t.Cleanup(func() { _ = process.Process.Kill() })
	return process, output
}

func kill(t *testing.T, process *exec.Cmd) {
	t.Helper()
	require.NoError(t, process.Process.Kill())
	require.Error(t, process.Wait())
}
