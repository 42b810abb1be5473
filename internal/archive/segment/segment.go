// Package segment reads and writes the files of an archive: SQL that psql runs, transaction after transaction in the order of commits.
//
//	BEGIN; -- 00000000/0194F2A8 2026-11-28T06:20:00.000000Z
//	INSERT INTO …
//	COMMIT; -- 00000000/0194F310
//
// The BEGIN has the LSN of the commit record and its time, the COMMIT the LSN after it. The last line of a sealed segment has the position
// where it ends, which shows whether the segment is torn. A file beside it has its checksum and that of the previous segment.
package segment

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/daymill/daymill/internal/archive/store"
)

// Dir is the directory of segments within an archive.
const Dir = "segments"

const (
	begin  = "BEGIN; -- "
	commit = "COMMIT; -- "
	at     = "-- at "
	end    = "-- end of segment "
)

// moments is the format of times, with as many digits as Postgres has, so that the texts sort like the times.
const moments = "2006-01-02T15:04:05.000000Z"

// LSN formats a position so that texts sort in the order of positions.
func LSN(lsn pglogrepl.LSN) string { return fmt.Sprintf("%08X/%08X", uint32(lsn>>32), uint32(lsn)) } //nolint:gosec // The two halves.

// Seal is the content of the file beside a sealed segment.
type Seal struct {
	File         store.File `json:"file"`
	From         string     `json:"from"`
	To           string     `json:"to"`
	Transactions int        `json:"transactions"`
	// LastCommit is the commit time of the last transaction, and LastCommitLSN the position of its commit record. If the segment has none,
	// they are those of the segment before.
	LastCommit     time.Time `json:"last_commit"`
	LastCommitLSN  string    `json:"last_commit_lsn,omitempty"`
	Text           int64     `json:"text"` // bytes before compression
	Previous       string    `json:"previous"`
	PreviousSHA256 string    `json:"previous_sha256"`
}

const sealed = ".sql.json"

// Name returns the name of the segment that begins at a position, without the suffixes of compression and encryption.
func Name(position string) string { return Dir + "/" + strings.Replace(position, "/", "-", 1) + ".sql" }

// Position returns the position of a segment's file, or of its seal; false if the name is not one of a segment.
func Position(name string) (position string, is bool) {
	stem, suffix, _ := strings.Cut(strings.TrimPrefix(name, Dir+"/"), ".")
	known := slices.Contains([]string{"sql", "sql.json", "sql.zst", "sql.gz", "sql.age", "sql.zst.age", "sql.gz.age"}, suffix)
	return strings.Replace(stem, "-", "/", 1), known && IsPosition(stem)
}

// IsPosition reports whether a text is a position as names of files have it.
func IsPosition(text string) bool {
	lsn, err := pglogrepl.ParseLSN(strings.Replace(text, "-", "/", 1))
	return err == nil && text == strings.Replace(LSN(lsn), "/", "-", 1)
}

// List returns the seals of an archive in order, and the position of the current segment; empty if there is none. Seals do not change, so
// List adds them to known, and does not read known ones again.
func List(ctx context.Context, s *store.Store, known map[string]Seal) (seals []Seal, open string, err error) {
	names, err := s.Names(ctx, Dir+"/")
	if err != nil {
		return nil, "", err
	}
	for _, name := range names {
		position, is := Position(name)
		switch {
		case !is: // It does not belong to the archive.
		case strings.HasSuffix(name, sealed):
			seal, has := known[name]
			if !has {
				if err := s.ReadJSON(ctx, name, &seal); err != nil {
					return nil, "", err
				}
				known[name] = seal
			}
			seals = append(seals, seal)
		case strings.HasSuffix(name, ".sql") && s.Dir() != "" && !slices.Contains(names, name+".json"):
			// Its seal was lost, or it is the current segment.
			open = position
		}
	}
	return seals, open, nil
}

// Kind is the kind of a line.
type Kind int

// Kinds of lines.
const (
	Other Kind = iota
	Begin
	Commit
	Place
	End
)

// Line is one line of a segment.
type Line struct {
	Kind Kind
	LSN  pglogrepl.LSN
	Time time.Time
	Text []byte
	// Inside is true for a line that is a part of rows or of the text of a statement.
	Inside bool
}

// Scan calls do with every complete line. Rows and the text of statements may look like any other line, so Scan tracks where they begin and
// end.
func Scan(from io.Reader, do func(line Line) error) error {
	reader := bufio.NewReaderSize(from, 1<<20)
	until := "" // the line that ends rows or a statement
	for {
		text, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a segment: %w", err)
		}
		line := Line{Text: text, Inside: until != ""}
		plain := strings.TrimSuffix(string(text[:min(len(text), 120)]), "\n")
		switch {
		case until != "":
			if plain == until {
				until = ""
			}
		case strings.HasPrefix(plain, "COPY "):
			until = `\.`
		case strings.HasPrefix(plain, "SELECT $ddl") && strings.HasSuffix(plain, "$"):
			until = strings.TrimPrefix(plain, "SELECT ") + ` \gexec`
		default:
			if err := line.read(plain); err != nil {
				return err
			}
		}
		if err := do(line); err != nil {
			return err
		}
	}
}

func (l *Line) read(text string) (err error) {
	for kind, prefix := range map[Kind]string{Begin: begin, Commit: commit, Place: at, End: end} {
		rest, is := strings.CutPrefix(text, prefix)
		if !is {
			continue
		}
		lsn, moment, _ := strings.Cut(rest, " ")
		if l.LSN, err = pglogrepl.ParseLSN(lsn); err == nil && moment != "" {
			l.Time, err = time.Parse(time.RFC3339Nano, moment)
		}
		if err != nil {
			return fmt.Errorf("a line of a segment cannot be read: %q", text)
		}
		l.Kind = kind
	}
	return nil
}
