package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"golang.org/x/term"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/event"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/schema"
)

type importCmd struct {
	Files []string `arg:"" optional:"" name:"file" help:"CSV or NDJSON, plain, gzip or zstd; - or nothing is standard input. Each file is imported as a whole or not at all."`

	Entity     string       `default:"entity_id" placeholder:"COLUMN" help:"The column with the entity; in NDJSON the field, where a.b is the field b of the object a (${default})."`
	Type       string       `placeholder:"COLUMN" xor:"type" help:"The column of the event type (event_type)."`
	TypeValue  string       `placeholder:"TYPE" xor:"type" help:"The type of every event, for files without an event type column."`
	Map        []string     `placeholder:"FROM=TO,…" help:"Event types to rename, such as VIEW=view,LIKE=click. Other types keep their names."`
	Time       string       `default:"created_at" placeholder:"COLUMN" help:"The column of the instant (${default})."`
	TimeFormat string       `default:"iso" placeholder:"FORMAT" help:"How instants are written: iso (such as 2026-03-01T12:34:56Z, with or without an offset), rfc3339 (an offset is required), datetime (without an offset), date, epoch, epoch-ms, epoch-us, epoch-ns, or a layout of Go's package time (${default})."`
	TimeZone   string       `default:"UTC" placeholder:"ZONE" help:"The zone of instants without an offset, an IANA name (${default})."`
	Format     event.Format `enum:"auto,csv,ndjson" default:"auto" help:"The format of the file: auto decides by the file's name, then by its first byte (${enum})."`
	Delimiter  string       `placeholder:"CHARACTER" help:"The character between fields of CSV (a comma; a tab if the file's name ends in .tsv)."`
	NoHeader   bool         `help:"The CSV has no header: name columns by number, starting with 1."`
	MaxErrors  int64        `default:"0" placeholder:"N" help:"How many bad rows a file may have; they are printed and skipped. If a file has more, nothing of it is imported (${default})."`
	Chunk      int          `default:"50000" placeholder:"ROWS" help:"Rows per COPY (${default})."`
	DryRun     bool         `help:"Read and check everything, print what would be imported, and write nothing."`
}

// standardInput is the name of standard input on the command line.
const standardInput = "-"

// shownName returns a file's name for reports.
func shownName(name string) string {
	if name == standardInput {
		return "standard input"
	}
	return name
}

// Run imports the files one after another, and stops at the first that fails.
func (c *importCmd) Run(ctx context.Context, a *app) error {
	importer, err := c.importer()
	if err != nil {
		return err
	}
	files, err := c.files(a)
	if err != nil {
		return err
	}
	conn, installation, err := a.openInstalled(ctx, "import")
	if err != nil {
		return err
	}
	defer conn.Close()
	importer.DB = conn
	importer.Options.EntityType = installation.EntityType
	condition, err := setTarget(ctx, conn, importer)
	if err != nil {
		return err
	}

	dates := map[date.Date]struct{}{}
	for n, name := range files {
		if err := c.importFile(ctx, a, importer, name, dates); err != nil {
			return c.stopped(ctx, err, files, n)
		}
	}
	if condition != "" {
		a.printf("only rows with %s are events: the source has that condition\n", condition)
	}
	c.conclude(a, installation, dates)
	return nil
}

// importer returns an importer for the options. It does not use the database.
func (c *importCmd) importer() (*event.Importer, error) {
	format, err := event.ParseTimeFormat(c.TimeFormat)
	if err != nil {
		return nil, usagef("--time-format: %w", err)
	}
	zone, err := time.LoadLocation(c.TimeZone)
	if err != nil || c.TimeZone == "" || c.TimeZone == "Local" {
		return nil, usagef("--time-zone: there is no time zone %q: give an IANA name such as UTC, Europe/London or America/Sao_Paulo",
			c.TimeZone)
	}
	var delimiter rune
	if c.Delimiter != "" {
		text := strings.ReplaceAll(c.Delimiter, `\t`, "\t")
		delimiter, _ = utf8.DecodeRuneInString(text)
		if utf8.RuneCountInString(text) != 1 || strings.ContainsRune("\r\n\"", delimiter) || delimiter == utf8.RuneError {
			return nil, usagef("--delimiter is %q: give one character, such as ; or \\t", c.Delimiter)
		}
	}
	if c.MaxErrors < 0 {
		return nil, usagef("--max-errors is %d: give 0 or more", c.MaxErrors)
	}
	if c.Chunk < 1 || c.Chunk > event.MaxChunk {
		return nil, usagef("--chunk is %d: give a number from 1 to %d", c.Chunk, event.MaxChunk)
	}
	columns := event.Columns{Entity: c.Entity, Type: c.Type, Time: c.Time}
	if columns.Type == "" {
		columns.Type = "event_type"
	}
	types, err := typeMap(c.Map)
	if err != nil {
		return nil, err
	}
	return &event.Importer{
		Options: event.Options{
			Format: c.Format, Delimiter: delimiter, NoHeader: c.NoHeader,
			Columns:   columns,
			TypeValue: c.TypeValue, TypeMap: types, TimeFormat: format, TimeZone: zone,
		},
		MaxErrors: c.MaxErrors, Chunk: c.Chunk, DryRun: c.DryRun,
	}, nil
}

// files checks that all files exist before anything is imported.
func (c *importCmd) files(a *app) ([]string, error) {
	files := c.Files
	if len(files) == 0 {
		files = []string{standardInput}
	}
	for n, name := range files {
		if name == standardInput {
			if slices.Contains(files[:n], standardInput) {
				return nil, usagef("- is given twice, but standard input can be read only once: give - once")
			}
			if stdin, ok := a.stdin.(*os.File); ok && term.IsTerminal(int(stdin.Fd())) {
				return nil, usagef("there is nothing to import: give a FILE, or pipe one in")
			}
			continue
		}
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usagef("there is no file %s: name files relative to this folder, or with their whole path", name)
		}
		if err != nil {
			return nil, usagef("%w", err)
		}
		if info.IsDir() {
			return nil, usagef("%s is a directory: give its files", name)
		}
	}
	return files, nil
}

// setTarget finds the table to write to. It returns the condition that rows must meet to be events.
func setTarget(ctx context.Context, conn *postgres.DB, importer *event.Importer) (condition string, err error) {
	found, err := source.FindTarget(ctx, conn)
	if err != nil {
		return "", err
	}
	importer.Target = event.Target{
		Table:        pgx.Identifier{found.Schema, found.Table},
		EntityColumn: found.Entity.Name, TypeColumn: found.Type.Name, TimeColumn: found.Time.Name,
	}
	if found.TimeZone != "" {
		importer.Target.TimeZone, err = time.LoadLocation(found.TimeZone)
		if err != nil {
			return "", fmt.Errorf("load the zone of the source's time column: %w", err)
		}
	}
	return found.Where, nil
}

// importFile imports one file and reports it.
func (c *importCmd) importFile(
	ctx context.Context, a *app, importer *event.Importer, name string, dates map[date.Date]struct{},
) error {
	input, size, shown := a.stdin, int64(-1), shownName(name)
	if name != standardInput {
		file, err := os.Open(name)
		if err != nil {
			return usageError{err}
		}
		defer file.Close()
		input = file
	}
	if file, ok := input.(*os.File); ok {
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
	}
	progress := newImportProgress(a, shown, size)
	importer.Observe = progress.observe
	importer.Bad = progress.badRow

	begun := a.clock().Now()
	report, err := importer.Import(ctx, name, input)
	progress.end(report.Progress)
	if err != nil {
		return fmt.Errorf("import %s: %w", shown, err)
	}
	for _, d := range report.Dates {
		dates[d] = struct{}{}
	}
	a.printf("%s\n", c.reportLine(shown, report, a.clock().Now().Sub(begun)))
	return nil
}

// reportLine returns the line that reports one file.
func (c *importCmd) reportLine(name string, report event.Report, took time.Duration) string {
	verb := "imported"
	if c.DryRun {
		verb = "would import"
	}
	line := fmt.Sprintf("%s: %s %s of %s", name, verb, number(report.Imported), plural(report.Rows, "row"))
	if report.Bad > 0 {
		line += fmt.Sprintf(", %s bad", number(report.Bad))
	}
	if n := len(report.Dates); n > 0 {
		line += fmt.Sprintf(", %s (%s)", plural(int64(n), "date"), date.Range{First: report.Dates[0], Last: report.Dates[n-1]})
	}
	line += ", " + duration(took)
	if took > 0 && report.Rows > 0 {
		line += fmt.Sprintf(", %s rows/s", number(int64(float64(report.Rows)/took.Seconds())))
	}
	return line
}

// conclude prints what happens next.
func (c *importCmd) conclude(a *app, installation schema.Installation, dates map[date.Date]struct{}) {
	if c.DryRun || len(dates) == 0 {
		return
	}
	today, ahead := date.Of(a.clock().Now(), installation.Zone), 0
	for d := range dates {
		if !d.Before(today) {
			ahead++
		}
	}
	a.printf("%s requested: a running worker rolls them up (`daymill worker` starts one)\n", plural(int64(len(dates)), "date"))
	if ahead > 0 {
		a.printf("%s of them not over yet: a worker rolls up a date once it is over\n", plural(int64(ahead), "date"))
	}
}

// stopped returns an error that says what was imported and what was not.
func (c *importCmd) stopped(ctx context.Context, err error, files []string, at int) error {
	var input *event.InputError
	wrongInput := errors.As(err, &input)
	if ctx.Err() != nil {
		err = fmt.Errorf("import %s: interrupted", shownName(files[at]))
	}
	outcome := "nothing of it was imported"
	if c.DryRun {
		outcome = "it could not be imported"
	}
	if at > 0 {
		outcome += "; before it: " + strings.Join(files[:at], ", ")
	}
	if at+1 < len(files) {
		outcome += "; not tried: " + strings.Join(files[at+1:], ", ")
	}
	if errors.Is(err, event.ErrBadRows) && !c.DryRun {
		outcome += "; --dry-run shows all bad rows, --max-errors leaves some out"
	}
	err = fmt.Errorf("%w (%s)", err, outcome)
	if wrongInput && (at == 0 || c.DryRun) {
		return usageError{err}
	}
	return err
}
