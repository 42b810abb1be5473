package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/presence"
	"github.com/daymill/daymill/internal/view"
)

type (
	viewBuildCmd struct {
		viewName
		paceOptions
	}
	viewRebuildCmd struct {
		viewName
		paceOptions

		Wait bool `help:"Work on it in this process until it is done."`
	}
	viewRefreshCmd struct {
		viewName
		paceOptions

		Key  []string `placeholder:"KEY" sep:"none" help:"A key of the root, or a JSON array if the key has several columns. May be given several times; all rows by default."`
		Wait bool     `help:"Work on it in this process until it is done."`
	}
	viewVerifyCmd struct {
		viewName
		paceOptions

		Repair bool `help:"Update the keys that differ."`
		JSON   bool `name:"json" help:"Print JSON."`
	}
)

// Run works on a view's tasks.
func (c *viewBuildCmd) Run(ctx context.Context, a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	return a.with(ctx, func(engine *view.Engine) error {
		v, err := unpaused(ctx, engine, c.Name)
		if err != nil {
			return err
		}
		r, err := v.Report(ctx, engine.DB)
		if err != nil {
			return err
		}
		var open []int64
		for _, t := range slices.Backward(r.Tasks) { // The oldest first.
			if t.State == view.Queued || t.State == view.Running {
				open = append(open, t.ID)
			}
		}
		if len(open) == 0 {
			a.printf("view %s has nothing to do\n", c.Name)
			return nil
		}
		return a.workOn(ctx, engine, c.Name, c.paceOptions, open)
	})
}

// taskPoll is how often to check a task that has to wait, such as after an error.
const taskPoll = time.Second

// pausedError says that a view is paused, so that nobody works on its tasks.
type pausedError struct{ view.View }

func (e pausedError) Error() string {
	return fmt.Sprintf("%s: run `daymill view resume %s` first", pausedText(e.View), e.Name)
}

// pausedText says that a view is paused, and why.
func pausedText(v view.View) string {
	text := "view " + v.Name + " is paused"
	if v.PausedBecause != "" {
		text += " (" + v.PausedBecause + ")"
	}
	return text
}

// notPaused returns a view. If it is paused, it returns a pausedError.
func notPaused(ctx context.Context, engine *view.Engine, name string) (view.View, error) {
	v, err := view.Get(ctx, engine.DB, name)
	if err == nil && v.PausedAt != nil {
		err = pausedError{v}
	}
	return v, err
}

// unpaused is notPaused for a command that has not changed anything yet.
func unpaused(ctx context.Context, engine *view.Engine, name string) (view.View, error) {
	v, err := notPaused(ctx, engine, name)
	if paused, is := errors.AsType[pausedError](err); is {
		err = usageError{paused}
	}
	return v, err
}

// requested returns a view, for a command that requests a task. If the command also waits for the task, the view must not be paused.
func requested(ctx context.Context, engine *view.Engine, name string, wait bool) (view.View, error) {
	if wait {
		return unpaused(ctx, engine, name)
	}
	return view.Get(ctx, engine.DB, name)
}

// printRequested prints that a task was requested, and what happens to it: work, unless the view is paused.
func (a *app) printRequested(v view.View, task int64, work string) {
	if v.PausedAt != nil {
		work = waitsText(v)
	}
	a.printf("task %d: %s\n", task, work)
}

// waitsText says that a task of a paused view waits.
func waitsText(v view.View) string {
	return fmt.Sprintf("%s, so the task waits until you run `daymill view resume %s`", pausedText(v), v.Name)
}

// workOn works on tasks of a view at a pace until they are finished, and prints how they ended. It does not wait for a view that is paused.
func (a *app) workOn(ctx context.Context, engine *view.Engine, name string, options paceOptions, tasks []int64) error {
	speed, stop := options.govern(ctx, a, engine.DB)
	defer stop()
	engine.Pace = speed
	for _, id := range tasks {
		waiting := ""
		for {
			more, err := engine.Work(ctx, id)
			if err != nil && !errors.Is(err, lease.ErrFenced) {
				return err
			}
			t, err := view.GetTask(ctx, engine.DB, id)
			if err != nil {
				return err
			}
			if t.State != view.Queued && t.State != view.Running {
				a.printf("task %d: %s %s%s%s\n", id, t.Kind, t.State, progress(t, a.clock().Now()), because(t.Error))
				if t.State == view.Failed {
					return fmt.Errorf("task %d failed: %s", id, t.Error)
				}
				break
			}
			if text, err := waitingText(ctx, engine, t); err != nil {
				return err
			} else if text != "" && text != waiting {
				waiting = text
				a.errorf("task %d: %s\n", id, waiting)
			}
			if _, err := notPaused(ctx, engine, name); err != nil {
				return err
			}
			if !more {
				if err := a.machineClock().Sleep(ctx, taskPoll); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// waitingText says why a task is not finished, and what to do if nobody reads the changes that it waits for.
func waitingText(ctx context.Context, engine *view.Engine, t view.Task) (string, error) {
	if !t.Waits() {
		return t.Error, nil
	}
	works, err := workerAlive(ctx, engine.DB)
	if err != nil || works {
		return t.Error, err
	}
	return t.Error + ": start `daymill worker`", nil
}

// workerAlive reports whether a worker process is alive.
func workerAlive(ctx context.Context, on postgres.DBTX) (bool, error) {
	workers, err := presence.List(ctx, on, presence.Alive)
	return len(workers) > 0, err
}

// Run builds a view again.
func (c *viewRebuildCmd) Run(ctx context.Context, a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	return a.with(ctx, func(engine *view.Engine) error {
		v, err := requested(ctx, engine, c.Name, c.Wait)
		if err != nil {
			return err
		}
		task, err := engine.Rebuild(ctx, c.Name, whoOnCLI())
		if err != nil {
			return err
		}
		if c.Wait {
			return a.workOn(ctx, engine, c.Name, c.paceOptions, []int64{task})
		}
		a.printRequested(v, task, "a worker builds view "+c.Name+" again")
		return nil
	})
}

// Run refreshes rows of a view.
func (c *viewRefreshCmd) Run(ctx context.Context, a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	return a.with(ctx, func(engine *view.Engine) error {
		var given [][]string
		if len(c.Key) > 0 {
			given = make([][]string, len(c.Key))
			for i, text := range c.Key {
				var err error
				if given[i], err = view.ParseKey(text); err != nil {
					return usageError{err}
				}
			}
		}
		v, err := requested(ctx, engine, c.Name, c.Wait)
		if err != nil {
			return err
		}
		tasks, err := engine.Refresh(ctx, c.Name, given, whoOnCLI())
		if err != nil {
			return err
		}
		if c.Wait {
			return a.workOn(ctx, engine, c.Name, c.paceOptions, tasks)
		}
		a.printRequested(v, tasks[0], "a worker refreshes view "+c.Name)
		return nil
	})
}

// Run compares a view with its SELECT.
func (c *viewVerifyCmd) Run(ctx context.Context, a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	return a.with(ctx, func(engine *view.Engine) error {
		if _, err := unpaused(ctx, engine, c.Name); err != nil {
			return err
		}
		tasks, err := engine.Verify(ctx, c.Name, c.Repair, whoOnCLI())
		if err != nil {
			return err
		}
		if c.JSON {
			out := a.stdout
			a.stdout = io.Discard // Print only JSON.
			err = a.workOn(ctx, engine, c.Name, c.paceOptions, tasks)
			if a.stdout = out; err != nil {
				return err
			}
		} else if err := a.workOn(ctx, engine, c.Name, c.paceOptions, tasks); err != nil {
			return err
		}
		t, err := view.GetTask(ctx, engine.DB, tasks[0])
		if err != nil {
			return err
		}
		if c.JSON {
			if err := a.printJSON(t); err != nil {
				return err
			}
		}
		if t.Differing > t.Repaired {
			return fmt.Errorf("view %s %w in %s", c.Name, errViewDrift, plural(t.Differing-t.Repaired, "key"))
		}
		return nil
	})
}
