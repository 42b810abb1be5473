package clickhouse

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/capture/sink"
)

const (
	// maxAnswer is how much of an answer is read, in bytes.
	maxAnswer = 64 << 20
	// busyWait is how long to wait for a server that is too busy.
	busyWait = 5 * time.Second
)

// version is the version of a server, such as 23.8.
type version struct{ major, minor int }

func (v version) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

// prepare asks for the server's version.
func (c *ClickHouse) prepare(ctx context.Context) error {
	if c.prepared {
		return nil
	}
	answer, err := c.query(ctx, "SELECT version()")
	if err != nil {
		return err
	}
	parts := strings.SplitN(strings.TrimSpace(string(answer)), ".", 3)
	if len(parts) < 2 {
		return fmt.Errorf("ask ClickHouse for its version: it answered %q", sink.Answer(answer))
	}
	major, majorErr := strconv.Atoi(parts[0])
	minor, minorErr := strconv.Atoi(parts[1])
	if err := errors.Join(majorErr, minorErr); err != nil {
		return fmt.Errorf("ask ClickHouse for its version: %w", err)
	}
	c.version, c.prepared = version{major, minor}, true
	return nil
}

// send runs a statement that writes. A server that supports tokens drops a block that it received recently.
func (c *ClickHouse) send(ctx context.Context, statement string, body []byte) error {
	settings := url.Values{"query": {statement}}
	if body != nil && c.version.atLeast(22, 3) {
		sum := sha256.Sum256(body)
		settings.Set("insert_deduplication_token", hex.EncodeToString(sum[:]))
	}
	if c.version.atLeast(20, 1) {
		settings.Set("date_time_input_format", "best_effort")
	}
	_, err := c.call(ctx, settings, body)
	return err
}

// query runs a statement that reads. The statement is the body, because it may be long.
func (c *ClickHouse) query(ctx context.Context, statement string) ([]byte, error) {
	return c.call(ctx, url.Values{}, []byte(statement))
}

func (c *ClickHouse) call(ctx context.Context, settings url.Values, body []byte) ([]byte, error) {
	address := c.address
	values := address.Query()
	for name := range settings {
		values.Set(name, settings.Get(name))
	}
	address.RawQuery = values.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: its URL cannot be read", ErrConfig)
	}
	if c.user != nil {
		password, _ := c.user.Password()
		request.SetBasicAuth(c.user.Username(), password)
	}
	response, err := c.client.Do(request)
	if err != nil {
		if from, ok := errors.AsType[*url.Error](err); ok { // Its text has the statement.
			err = from.Err
		}
		return nil, fmt.Errorf("reach ClickHouse at %s: %w", address.Host, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read what ClickHouse answered: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return answer, nil
	}
	return nil, judge(response, answer)
}

var codePattern = regexp.MustCompile(`^Code: (\d+)`)

// Codes of errors, from ClickHouse's documentation.
//
//nolint:gochecknoglobals // Constants.
var (
	// Errors of rows: values that cannot be parsed, or that do not fit the column.
	codesOfRows = []int{6, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 131, 321, 349, 376, 407, 441, 467, 675, 676}
	// Errors of a busy server: too many queries, too many parts, too little memory.
	codesBusy = []int{202, 241, 252, 439}
)

// codeDuplicate means that the column already exists, because another shard added it.
const codeDuplicate = 44

// serverError is an error that the server answered.
type serverError struct {
	code   int
	answer string
}

func (e *serverError) Error() string {
	return "ClickHouse answered " + strings.TrimSpace(sink.Answer([]byte(e.answer)))
}

func isCode(err error, codes ...int) bool {
	var server *serverError
	return errors.As(err, &server) && slices.Contains(codes, server.code)
}

// judge returns a refusal if a row causes the error, and another error if the server does.
func judge(response *http.Response, answer []byte) error {
	text := response.Header.Get("X-Clickhouse-Exception-Code")
	if match := codePattern.FindSubmatch(answer); text == "" && match != nil {
		text = string(match[1])
	}
	code, err := strconv.Atoi(text)
	if err != nil {
		code = 0
	}
	failed := &serverError{code: code, answer: string(answer)}
	switch {
	case code == 0:
		failed.answer = response.Status
		if response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusServiceUnavailable {
			return &sink.RetryError{After: busyWait, Err: failed}
		}
		return failed
	case slices.Contains(codesOfRows, code):
		return &refusal{reason: "ClickHouse refuses the row (code " + text + ")", answer: string(answer)}
	case slices.Contains(codesBusy, code):
		return &sink.RetryError{After: busyWait, Err: failed}
	default:
		return failed
	}
}
