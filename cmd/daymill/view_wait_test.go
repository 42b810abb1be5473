package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newPeople returns a bundle whose database has the tables of staffView. No worker runs.
func newPeople(t *testing.T, binary string) (b *viewBundle, file string) {
	t.Helper()
	b = newViewBundle(t, binary)
	executeSQL(t, b.db, `CREATE TABLE public.teams (id integer PRIMARY KEY, title text); CREATE TABLE public.people (id integer PRIMARY KEY, name text, team integer);
		INSERT INTO public.people VALUES (1, 'ann', 1), (2, 'bob', NULL)`)
	return b, b.write(t, "staff.yaml", staffView)
}

// starts runs the program, and returns a file with what it prints, and a function that waits until it ends and returns its exit code.
func (b *viewBundle) starts(t *testing.T, args ...string) (output string, ends func() int) {
	t.Helper()
	output = filepath.Join(b.dir, "output-"+strings.Join(args[:2], "-"))
	file, err := os.Create(output)
	require.NoError(t, err)
	t.Cleanup(func() { _ = file.Close() })
	cmd := b.command(t.Context(), args...)
	cmd.Stdout, cmd.Stderr = file, file
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // The exit code says how it ended.
	}()
	return output, func() int {
		select {
		case <-ended:
			return cmd.ProcessState.ExitCode()
		case <-time.After(time.Minute):
			require.FailNow(t, "it does not end", "%v: %s", args, read(t, output))
			return 0
		}
	}
}

// prints waits until a program has printed a text.
func prints(t *testing.T, output, text string) {
	t.Helper()
	require.Eventually(t, func() bool {
		content, err := os.ReadFile(output)
		return err == nil && strings.Contains(string(content), text)
	}, time.Minute, 50*time.Millisecond, text)
}

// testViewPaused: no command waits for a view that is paused.
func testViewPaused(t *testing.T, binary string) {
	t.Helper()
	const refused = "view staff is paused (maintenance): run `daymill view resume staff` first"

	t.Run("AtOnce", func(t *testing.T) {
		t.Parallel()
		b, file := newPeople(t, binary)
		b.run(t, "apply", "-f", file)
		b.run(t, "pause", "staff", "--because", "maintenance")
		for _, args := range [][]string{{"build"}, {"rebuild", "--wait"}, {"refresh", "--wait"}, {"verify"}, {"verify", "--json"}} {
			output, ends := b.starts(t, append([]string{"view", args[0], "staff"}, args[1:]...)...)
			require.Equal(t, exitUsage, ends(), args)
			require.Equal(t, "daymill: "+refused+"\n", read(t, output), args)
		}
		require.Equal(t, "1", b.text(t, "SELECT count(*)::text FROM view.task"), "a task was requested")
		for _, verb := range []string{"refresh", "rebuild"} {
			require.Regexp(t, `^task \d+: view staff is paused \(maintenance\), so the task waits until you run .daymill view resume staff.\n$`, b.run(t, verb, "staff"))
		}
	})

	t.Run("KeepsReason", func(t *testing.T) {
		t.Parallel()
		b, file := newPeople(t, binary)
		b.run(t, "apply", "-f", file)
		b.run(t, "pause", "staff", "--because", "maintenance")
		b.run(t, "pause", "staff")
		require.Contains(t, b.run(t, "show", "staff"), "paused: maintenance")
		b.run(t, "pause", "staff", "--because", "another reason")
		require.Contains(t, b.run(t, "show", "staff"), "paused: another reason")
		b.run(t, "resume", "staff")
		b.run(t, "pause", "staff")
		require.Contains(t, b.ends(t, exitUsage, "build", "staff"), "view staff is paused: run `daymill view resume staff` first")

		b.write(t, "other.yaml", strings.Replace(staffView, "name: staff", "name: other", 1))
		b.run(t, "apply", "-f", "other.yaml")
		require.Equal(t, "view other is removed\n", b.run(t, "remove", "other"), "nothing is captured yet")
		executeSQL(t, b.db, "UPDATE capture.stream SET mode = 'trigger'")
		require.Equal(t, "view staff is removed\nno worker runs: the next one removes the triggers or the slot that captured changes only for this view\n", b.run(t, "remove", "staff"))
	})

	t.Run("Meanwhile", func(t *testing.T) {
		t.Parallel()
		b, file := newPeople(t, binary)
		b.run(t, "apply", "-f", file)
		output, ends := b.starts(t, "view", "build", "staff")
		prints(t, output, "task 1: it waits until changes of public.people of database app are captured: start `daymill worker`\n")
		b.run(t, "pause", "staff", "--because", "maintenance")
		require.Equal(t, exitFailed, ends())
		require.Contains(t, read(t, output), refused)
	})
}

// testViewBuild: a build that waits without a worker says what to start, and continues once a worker reads the changes.
func testViewBuild(t *testing.T, binary string) {
	t.Helper()
	b, file := newPeople(t, binary)
	b.run(t, "apply", "-f", file)
	output, ends := b.starts(t, "view", "build", "staff")
	prints(t, output, "are captured: start `daymill worker`\n")
	b.worker(t)
	require.Equal(t, exitOK, ends())
	require.Contains(t, read(t, output), "task 1: build done")
}

// testViewApply: apply takes several files, and says what happens next.
func testViewApply(t *testing.T, binary string) {
	t.Helper()
	b, file := newPeople(t, binary)
	second := b.write(t, "second.yaml", strings.Replace(staffView, "name: staff", "name: second", 1))
	folder := filepath.Join(b.dir, "more")
	require.NoError(t, os.Mkdir(folder, 0o700))
	third := strings.Replace(staffView, "name: staff", "name: third", 1)
	b.write(t, "more/third.yaml", third)

	require.Contains(t, b.ends(t, exitUsage, "apply", "-f", file, "-f", b.write(t, "copy.yaml", staffView)), `view "staff" is also defined in `+file)
	require.Contains(t, b.ends(t, exitUsage, "apply", "-f", file, "-f", "absent.yaml"), "there is no file or folder absent.yaml")
	require.Contains(t, b.ends(t, exitUsage, "apply", file), "unexpected argument "+file+": write -f "+file)

	require.NotContains(t, b.run(t, "apply", "-f", file, "--dry-run"), "applied")
	text := b.run(t, "apply", "-f", file, "-f", second, "-f", folder, "-f", file)
	for _, name := range []string{"staff", "second", "third"} {
		require.Contains(t, text, "create  view "+name)
	}
	require.True(t, strings.HasSuffix(text, "\napplied: start `daymill worker`, which builds them\n"), text)
	require.NotContains(t, b.run(t, "apply", "-f", file, "-f", second, "-f", folder), "applied")

	b.run(t, "pause", "staff", "--because", "maintenance")
	added := b.write(t, "added.yaml", strings.Replace(staffView, "key: true}", "key: true}, {column: team, as: team_id}", 1))
	require.Contains(t, b.run(t, "apply", "-f", added),
		"\napplied: start `daymill worker`, which builds it\nview staff is paused (maintenance), so the task waits until you run `daymill view resume staff`\n")
	b.run(t, "resume", "staff")

	b.write(t, "daymill.yaml", "views:\n  - "+strings.ReplaceAll(strings.TrimSpace(strings.Replace(staffView, "name: staff", "name: fourth", 1)), "\n", "\n    ")+"\n")
	output, err := b.command(t.Context(), "apply").Output()
	require.NoError(t, err)
	require.Contains(t, string(output), "applied: start `daymill worker`, which builds it\n")
	b.worker(t)
	b.until(t, "SELECT to_regclass('views.fourth') IS NOT NULL AND to_regclass('views.staff') IS NOT NULL")
	require.NotContains(t, b.run(t, "apply", "-f", b.write(t, "fifth.yaml", strings.Replace(staffView, "name: staff", "name: fifth", 1))), "start `daymill worker`")
}
