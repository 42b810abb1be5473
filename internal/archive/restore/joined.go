package restore

import (
	"bytes"
	"io"
)

// together is how many bytes of statements psql sends to the server in one message. Otherwise each row would cost a round trip.
const together = 64 << 10

// joined writes SQL for psql. It ends statements with \; instead of ; if more follow, so that psql sends them together. The server still runs
// one after another, and stops at the first error.
type joined struct {
	to   io.Writer
	held []byte // a statement whose end depends on what follows
	size int    // of the message so far
}

// statement writes a statement that may be sent with its neighbors, and that ends with ;\n.
func (j *joined) statement(text []byte) error {
	if j.held != nil {
		end := "\\;\n"
		if j.size > together {
			end, j.size = ";\n", 0
		}
		if err := j.write(end); err != nil {
			return err
		}
	}
	j.held, j.size = append(j.held[:0], text...), j.size+len(text)
	return nil
}

// line writes another line.
func (j *joined) line(text []byte) error {
	if err := j.flush(); err != nil {
		return err
	}
	_, err := j.to.Write(text)
	return err
}

// flush ends the message.
func (j *joined) flush() error {
	if j.held == nil {
		return nil
	}
	err := j.write(";\n")
	j.held, j.size = nil, 0
	return err
}

func (j *joined) write(end string) error {
	if _, err := j.to.Write(bytes.TrimSuffix(j.held, []byte(";\n"))); err != nil {
		return err
	}
	_, err := io.WriteString(j.to, end)
	return err
}

// changesRow reports whether a line of a segment is a whole statement that changes a row.
func changesRow(line []byte) bool {
	for _, begin := range []string{"INSERT INTO ", "UPDATE ONLY ", "DELETE FROM ONLY ", "WITH old AS "} {
		if bytes.HasPrefix(line, []byte(begin)) {
			return true
		}
	}
	return false
}
