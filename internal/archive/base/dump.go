package base

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/daymill/daymill/internal/archive/store"
)

// partBytes is the size of a part with rows. A restore runs parts in parallel, and repeats unfinished ones after an interruption.
const partBytes = 128 << 20

// dump splits the output of pg_dump into the files of a base:
//
//	1-schema.sql     the schema that the rows need
//	2-rows-0001.sql  rows, in parts
//	3-indexes.sql    indexes, and constraints with an index: statements that are independent of each other
//	4-rest.sql       everything else, which needs the files before it
type dump struct {
	from  *bufio.Reader
	lexer lexer
	store *store.Store
	codec store.Codec
	dir   string
	part  int64 // bytes
	// numbers has the number of the last part with rows. Dumps that write the same base share it.
	numbers *atomic.Int64

	next  []byte // the statement that was read and not written yet; nil at the end
	head  []byte // head of the rows that continue in the next part; nil if none do
	files []store.File
}

func (d *dump) run(ctx context.Context) error {
	if err := d.read(); err != nil {
		return err
	}
	err := d.put(ctx, "1-schema.sql", func(to io.Writer) error {
		return d.copyUntil(to, func() bool { return d.next == nil || isCopy(d.next) })
	})
	if err == nil {
		err = d.parts(ctx)
	}
	if err != nil {
		return err
	}
	var rest store.File
	err = d.put(ctx, "3-indexes.sql", func(indexes io.Writer) (err error) {
		rest, err = d.codec.PutText(ctx, d.store, d.dir+"4-rest.sql", func(others io.Writer) error {
			for d.next != nil {
				to := others
				if isIndex(d.next) {
					to = indexes
				}
				if err := d.take(to); err != nil {
					return err
				}
			}
			return nil
		})
		return err
	})
	d.files = append(d.files, rest)
	return err
}

// parts writes the parts with rows.
func (d *dump) parts(ctx context.Context) (err error) {
	for err == nil && (d.head != nil || d.next != nil && isCopy(d.next)) {
		err = d.put(ctx, fmt.Sprintf("2-rows-%04d.sql", d.numbers.Add(1)), d.rows)
	}
	return err
}

func (d *dump) put(ctx context.Context, name string, write func(io.Writer) error) error {
	file, err := d.codec.PutText(ctx, d.store, d.dir+name, write)
	d.files = append(d.files, file)
	return err
}

func (d *dump) copyUntil(to io.Writer, over func() bool) error {
	for !over() {
		if err := d.take(to); err != nil {
			return err
		}
	}
	return nil
}

// take writes the next statement and reads the one after it.
func (d *dump) take(to io.Writer) error {
	if _, err := to.Write(d.next); err != nil {
		return err
	}
	return d.read()
}

// rows writes a part, with rows of one or several tables.
func (d *dump) rows(writer io.Writer) error {
	var size int64
	for d.head != nil || d.next != nil && isCopy(d.next) {
		if d.head == nil {
			d.head = d.next
		}
		if _, err := writer.Write(d.head); err != nil {
			return err
		}
		for whole := true; ; {
			line, err := d.from.ReadSlice('\n')
			over := whole && err == nil && len(line) == 3 && line[0] == '\\' && line[1] == '.'
			if errors.Is(err, bufio.ErrBufferFull) {
				err = nil // The rest of the line follows.
			}
			if err != nil {
				return fmt.Errorf("read the dump: %w", err)
			}
			whole = line[len(line)-1] == '\n'
			if _, err := writer.Write(line); err != nil {
				return err
			}
			if size += int64(len(line)); over {
				break
			}
			if whole && size > d.part {
				_, err := io.WriteString(writer, "\\.\n")
				return err
			}
		}
		d.head = nil
		if err := d.read(); err != nil {
			return err
		}
	}
	return nil
}

// read reads the next statement, with the comments before it.
func (d *dump) read() error {
	d.next = nil
	for {
		line, err := d.from.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the dump: %w", err)
		}
		outside := d.lexer.outside()
		text := strings.TrimSpace(string(line[:min(len(line), 20)]))
		switch {
		case outside && len(d.next) == 0 && (text == "" || strings.HasPrefix(text, "--")):
			continue
		case outside && (strings.HasPrefix(text, `\restrict `) || strings.HasPrefix(text, `\unrestrict `)):
			continue // Parts run in parallel.
		case outside && len(d.next) == 0 && (text == "BEGIN;" || text == "COMMIT;"):
			continue // They surround large objects, but a part is one transaction.
		}
		d.lexer.line(line)
		d.next = append(d.next, line...)
		if d.lexer.outside() && bytes.HasSuffix(bytes.TrimRight(line, "\n"), []byte(";")) {
			return nil
		}
	}
}

// Statements calls do with each statement of a base's file that has no rows.
func Statements(from io.Reader, do func(statement []byte) error) error {
	d := &dump{from: bufio.NewReader(from)}
	for {
		if err := d.read(); err != nil || d.next == nil {
			return err
		}
		if err := do(d.next); err != nil {
			return err
		}
	}
}

var index = regexp.MustCompile(`^(?:CREATE (?:UNIQUE )?INDEX |ALTER TABLE ONLY [^\n]+\n    ADD CONSTRAINT [^\n]+ (?:PRIMARY KEY|UNIQUE|EXCLUDE) )`)

func isCopy(statement []byte) bool {
	return bytes.HasPrefix(statement, []byte("COPY ")) && bytes.HasSuffix(statement, []byte(" FROM stdin;\n"))
}

func isIndex(statement []byte) bool { return index.Match(statement) }

// lexer follows quotes and comments from line to line.
type lexer struct {
	quote   byte   // ' or " within one; E within a text with backslashes
	dollar  string // the tag that ends it
	comment int    // nesting depth
}

func (l *lexer) outside() bool { return l.quote == 0 && l.dollar == "" && l.comment == 0 }

var dollar = regexp.MustCompile(`^\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$`)

func (l *lexer) line(line []byte) {
	for place := 0; place < len(line); place++ {
		c, rest := line[place], line[place:]
		switch {
		case l.quote == 'E' && c == '\\':
			place++
		case l.quote == 'E' && c == '\'' || l.quote != 0 && l.quote != 'E' && c == l.quote:
			if place+1 < len(line) && line[place+1] == c {
				place++ // A doubled quote is part of the text.
			} else {
				l.quote = 0
			}
		case l.quote != 0:
		case l.dollar != "":
			if bytes.HasPrefix(rest, []byte(l.dollar)) {
				place += len(l.dollar) - 1
				l.dollar = ""
			}
		case bytes.HasPrefix(rest, []byte("/*")):
			l.comment++
			place++
		case l.comment > 0:
			if bytes.HasPrefix(rest, []byte("*/")) {
				l.comment--
				place++
			}
		case bytes.HasPrefix(rest, []byte("--")):
			return
		case c == '\'':
			if l.quote = c; place > 0 && (line[place-1] == 'E' || line[place-1] == 'e') && (place == 1 || !word(line[place-2])) {
				l.quote = 'E'
			}
		case c == '"':
			l.quote = c
		case c == '$' && (place == 0 || !word(line[place-1])):
			if tag := dollar.Find(rest); tag != nil {
				l.dollar = string(tag)
				place += len(tag) - 1
			}
		}
	}
}

func word(c byte) bool {
	return c == '_' || c == '$' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80
}
