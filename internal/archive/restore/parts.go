package restore

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/row"
	"github.com/daymill/daymill/internal/archive/store"
)

// parts restores the base part by part. Each part is a transaction, which also records that the part is done. Parts with rows, and then indexes, run in parallel.
func (r *restoration) parts(ctx context.Context) error {
	var schema, rows, indexes, rest []store.File
	for _, file := range r.base.Files {
		switch name := path.Base(file.Name); {
		case strings.HasPrefix(name, "1-"):
			schema = append(schema, file)
		case strings.HasPrefix(name, "2-"):
			rows = append(rows, file)
		case strings.HasPrefix(name, "3-"):
			indexes = append(indexes, file)
		default:
			rest = append(rest, file)
		}
	}
	for _, file := range schema {
		begin := base.BeginSQL + "INSERT INTO daymill_restore.restore (archive, base, position, at) VALUES (" +
			row.Literal(r.chain.Manifest.Slot) + ", " + row.Literal(r.base.Position) + ", " + row.Literal(r.base.Position) + ", " +
			row.Literal(r.base.At.Format(time.RFC3339Nano)) + ");\n"
		if err := r.part(ctx, file, begin, ""); err != nil {
			return err
		}
	}
	group, beside := errgroup.WithContext(ctx)
	group.SetLimit(r.config.Jobs)
	for _, file := range rows {
		group.Go(func() error { return r.part(beside, file, "", "") })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, file := range indexes {
		if err := r.indexes(ctx, file); err != nil {
			return err
		}
	}
	// Disable event triggers before the last part, which removes the archive's own objects.
	for _, file := range rest {
		if err := r.part(ctx, file, "", "SELECT daymill_restore.calm();\n"); err != nil {
			return err
		}
	}
	return nil
}

func done(part string) string {
	return "INSERT INTO daymill_restore.done (part) VALUES (" + row.Literal(part) + ");\n"
}

// part restores a file, unless it is already done.
func (r *restoration) part(ctx context.Context, file store.File, before, after string) error {
	name := path.Base(file.Name)
	if r.done[name] {
		return nil
	}
	r.progress(name)
	return run(ctx, &r.config, func(to io.Writer) error {
		text, err := r.config.Codec.Text(ctx, r.config.Store, file.Name)
		if err != nil {
			return err
		}
		defer text.Close()
		if _, err := io.WriteString(to, "BEGIN;\n"+before); err != nil {
			return err
		}
		if _, err := io.Copy(to, text); err != nil {
			return fmt.Errorf("restore %s: %w", file.Name, err)
		}
		_, err = io.WriteString(to, after+done(name)+"COMMIT;\n")
		return err
	})
}

// indexes runs the file's statements in parallel, because none needs another.
func (r *restoration) indexes(ctx context.Context, file store.File) error {
	text, err := r.config.Codec.Text(ctx, r.config.Store, file.Name)
	if err != nil {
		return err
	}
	defer text.Close()
	r.progress(path.Base(file.Name))
	statements := make(chan string)
	group, ctx := errgroup.WithContext(ctx)
	for range r.config.Jobs {
		group.Go(func() error {
			return run(ctx, &r.config, func(to io.Writer) error {
				for statement := range statements {
					if _, err := io.WriteString(to, statement); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	number := 0
	err = base.Statements(text, func(statement []byte) error {
		number++
		name := fmt.Sprintf("%s %d", path.Base(file.Name), number)
		if r.done[name] {
			return nil
		}
		select {
		case statements <- "BEGIN;\n" + string(statement) + done(name) + "COMMIT;\n":
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	close(statements)
	if waited := group.Wait(); waited != nil {
		return waited
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", file.Name, err)
	}
	return nil
}
