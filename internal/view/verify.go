package view

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/postgres"
)

// recheck are the pauses before differing keys are compared again, because a change may not be applied yet. Keys that still differ after the
// last one count as different.
//
//nolint:gochecknoglobals // A constant.
var recheck = []time.Duration{200 * time.Millisecond, time.Second, 5 * time.Second}

// verify compares the next range of root keys with the SELECT.
func (w *worker) verify(ctx context.Context, size int64) (s step, took time.Duration, err error) {
	upper, count, err := w.upper(ctx, size)
	if err != nil {
		return s, 0, err
	}
	s = w.span(upper, count)
	p := w.version.Plan
	var differing roots
	took, err = w.pacer.Do(nil, func() error {
		return w.DB.ReadTx(ctx, func(tx pgx.Tx) error {
			if err := limit(ctx, tx, w.size.Limit()); err != nil {
				return err
			}
			differing, err = query(ctx, tx, p.Compare(w.version.Table, w.task.Cursor != nil, upper != nil), w.bounds(upper)...)
			if err != nil {
				return fmt.Errorf("compare %s: %w", w.version.Table, err)
			}
			if sql := p.Misfits(w.task.Cursor != nil, upper != nil); sql != "" {
				arguments := append([]any{pgx.QueryExecModeCacheDescribe}, w.bounds(upper)...)
				return tx.QueryRow(ctx, sql, arguments...).Scan(&s.misfits)
			}
			return nil
		})
	})
	if err != nil {
		return s, took, err
	}
	for _, pause := range recheck {
		if len(differing) == 0 {
			break
		}
		if err := w.clock().Sleep(ctx, pause); err != nil {
			return s, took, err
		}
		if differing, err = w.differing(ctx, w.DB, differing); err != nil {
			return s, took, err
		}
	}
	s, _, err = w.locked(ctx, func(tx pgx.Tx) (step, error) {
		s.differing = int64(len(differing))
		w.example("", differing)
		if w.task.Repair && len(differing) > 0 {
			s.repaired = s.differing
			return s, w.version.refresh(ctx, tx, differing)
		}
		return s, nil
	})
	return s, took, err
}

// example stores some of the keys that differ, with what they are keys of.
func (w *worker) example(of string, keys roots) {
	for _, key := range keys {
		if len(w.task.Examples) < maxExamples {
			w.task.Examples = append(w.task.Examples, of+strings.Join(key, ","))
		}
	}
}

// differing returns those of some root keys whose rows differ from the SELECT's.
func (w *worker) differing(ctx context.Context, on postgres.DBTX, keys roots) (roots, error) {
	found, err := query(ctx, on, w.version.Plan.CompareKeys(w.version.Table), keys.arrays(len(w.version.Plan.Keys[0]))...)
	if err != nil {
		return nil, fmt.Errorf("compare %s: %w", w.version.Table, err)
	}
	return found, nil
}
