package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/lease"
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
		v, err := view.Get(ctx, engine.DB, c.Name)
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
		return a.workOn(ctx, engine, c.paceOptions, open)
	})
}

// taskPoll is how often to check a task that has to wait, such as after an error.
const taskPoll = time.Second

// workOn works on tasks at a pace until they are finished, and prints how they ended.
func (a *app) workOn(ctx context.Context, engine *view.Engine, options paceOptions, tasks []int64) error {
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
			if t.Error != "" && t.Error != waiting {
				waiting = t.Error
				a.errorf("task %d: %s\n", id, waiting)
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

// Run builds a view again.
func (c *viewRebuildCmd) Run(ctx context.Context, a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	return a.with(ctx, func(engine *view.Engine) error {
		task, err := engine.Rebuild(ctx, c.Name, whoOnCLI())
		if err != nil {
			return err
		}
		if c.Wait {
			return a.workOn(ctx, engine, c.paceOptions, []int64{task})
		}
		a.printf("task %d: a worker builds view %s again\n", task, c.Name)
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
		tasks, err := engine.Refresh(ctx, c.Name, given, whoOnCLI())
		if err != nil {
			return err
		}
		if c.Wait {
			return a.workOn(ctx, engine, c.paceOptions, tasks)
		}
		a.printf("task %d: a worker refreshes view %s\n", tasks[0], c.Name)
		return nil
	})
}

// Run compares a view with its SELECT.
func (c *viewVerifyCmd) Run(ctx context.Context, a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	return a.with(ctx, func(engine *view.Engine) error {
		tasks, err := engine.Verify(ctx, c.Name, c.Repair, whoOnCLI())
		if err != nil {
			return err
		}
		if c.JSON {
			out := a.stdout
			a.stdout = io.Discard // Print only JSON.
			err = a.workOn(ctx, engine, c.paceOptions, tasks)
			if a.stdout = out; err != nil {
				return err
			}
		} else if err := a.workOn(ctx, engine, c.paceOptions, tasks); err != nil {
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
			return fmt.Errorf("%s of view %s %w", plural(t.Differing-t.Repaired, "key"), c.Name, errViewDrift)
		}
		return nil
	})
}
