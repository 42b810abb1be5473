// Package search is a sink that keeps an index of OpenSearch or Elasticsearch equal to rows. Each document has the row's position as its
// external version, so the server refuses older versions.
package search

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/opensearch-project/opensearch-go/v4"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/template"
)

// ErrConfig says that the configuration of a search sink cannot be used.
var ErrConfig = errors.New("the search sink cannot be used")

const (
	// maxBulk is the maximum size of a _bulk request, in bytes. Servers refuse much larger ones.
	maxBulk = 5 << 20
	// maxResponse is how much of an answer is read, in bytes.
	maxResponse = 64 << 20
)

// Config configures the sink. Both fields are required.
type Config struct {
	URL   string // https://user:password@host:9200
	Index *template.Template
}

// Search writes to an index.
type Search struct {
	config Config
	client *opensearch.Client
}

// Open checks the configuration. It does not connect.
func Open(config Config) (*Search, error) {
	target, err := url.Parse(config.URL)
	if err != nil || (target.Scheme != "https" && target.Scheme != "http") || target.Host == "" {
		return nil, fmt.Errorf("%w: write its URL as https://user:password@host:9200", ErrConfig)
	}
	if config.Index == nil {
		return nil, fmt.Errorf("%w: say which index", ErrConfig)
	}
	discover := false
	client, err := opensearch.NewClient(opensearch.Config{
		Addresses: []string{config.URL},
		// The caller retries, and there is only one address.
		DisableRetry: true, DiscoverNodesOnStart: &discover, HealthCheckMaxRetries: -1,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: its URL cannot be read", ErrConfig)
	}
	return &Search{config: config, client: client}, nil
}

// Close closes the client.
func (s *Search) Close() error { return s.client.Close() }

// item is a document to write or delete.
type item struct {
	sink.Collapsed

	index, id string
}

// Deliver writes changes. If a batch has several changes of a key, it writes the last one.
func (s *Search) Deliver(ctx context.Context, changes []change.Change) ([]sink.Refusal, error) {
	collapsed, err := sink.Collapse(changes)
	if err != nil {
		return nil, err
	}
	var parked sink.Parked
	var items []item
	var incomplete []*item
	for _, c := range collapsed {
		planned, err := s.plan(c)
		if err != nil {
			parked.RefuseAll(c, err.Error(), "")
			continue
		}
		items = append(items, planned)
	}
	for i := range items {
		if len(items[i].Unchanged) > 0 {
			incomplete = append(incomplete, &items[i])
		}
	}
	if len(incomplete) > 0 {
		if err := s.complete(ctx, incomplete); err != nil {
			return nil, err
		}
	}
	for len(items) > 0 {
		var body bytes.Buffer
		count := 0
		for count < len(items) && (count == 0 || body.Len()+len(items[count].New) < maxBulk) {
			if err := items[count].write(&body); err != nil {
				return nil, err
			}
			count++
		}
		if err := s.bulk(ctx, items[:count], body.Bytes(), &parked); err != nil {
			return nil, err
		}
		items = items[count:]
	}
	return parked.Refusals(), nil
}

// plan returns the document that a change writes or deletes.
func (s *Search) plan(c sink.Collapsed) (item, error) {
	if c.Op == change.Truncate {
		return item{}, errors.New("the table was truncated, which a search sink cannot do: empty the index, and discard this letter")
	}
	data, err := template.Data(c.Change)
	if err != nil {
		return item{}, err
	}
	index, err := s.config.Index.Render(data)
	if err != nil {
		return item{}, fmt.Errorf("index: %w", err)
	}
	id, err := sink.KeyValues(c.Change)
	if err != nil {
		return item{}, err
	}
	if id == "" {
		return item{}, errors.New("its key is empty, which cannot be the id of a document")
	}
	return item{Collapsed: c, index: index, id: id}, nil
}

// write appends the lines of a _bulk request.
func (i item) write(body *bytes.Buffer) error {
	verb := "index"
	if i.Op == change.Delete {
		verb = "delete"
	}
	line, err := json.Marshal(map[string]any{verb: map[string]any{
		"_index": i.index, "_id": i.id, "version": i.Position, "version_type": "external_gte",
	}})
	if err != nil {
		return err
	}
	body.Write(line)
	body.WriteByte('\n')
	if i.Op == change.Delete {
		return nil
	}
	if err := json.Compact(body, i.New); err != nil { // A document must be one line.
		return fmt.Errorf("read the row at position %d: %w", i.Position, err)
	}
	body.WriteByte('\n')
	return nil
}

// fault is an error in the server's answer.
type fault struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
	Cause  *fault `json:"caused_by"`
}

func (f *fault) String() string {
	if f == nil {
		return ""
	}
	text := f.Type + ": " + f.Reason
	if f.Cause != nil {
		text += "; " + f.Cause.String()
	}
	return text
}

// bulk sends a _bulk request, and checks the result of each item.
func (s *Search) bulk(ctx context.Context, items []item, body []byte, parked *sink.Parked) error {
	var answer struct {
		Items []map[string]struct {
			Status int    `json:"status"`
			Error  *fault `json:"error"`
		} `json:"items"`
	}
	status, text, err := s.post(ctx, "/_bulk", body, &answer)
	switch {
	case err != nil:
		return err
	case status == http.StatusRequestEntityTooLarge && len(items) == 1:
		parked.RefuseAll(items[0].Collapsed, "the document is too large for the search server", text)
		return nil
	case status == http.StatusRequestEntityTooLarge:
		return s.halves(ctx, items, parked)
	case status >= http.StatusBadRequest:
		return fmt.Errorf("the search server answered %d: %s", status, brief(text))
	case len(answer.Items) != len(items):
		return fmt.Errorf("the search server returned results for %d of %d documents", len(answer.Items), len(items))
	}
	for i, results := range answer.Items {
		for _, result := range results {
			switch status := result.Status; {
			case status < http.StatusBadRequest:
			case status == http.StatusConflict: // The index has a later version.
			case status == http.StatusNotFound && result.Error == nil: // Already deleted.
			case status == http.StatusTooManyRequests, status >= http.StatusInternalServerError, passes(result.Error):
				return fmt.Errorf("the search server answered %d: %s", status, brief(result.Error.String()))
			default:
				parked.RefuseAll(items[i].Collapsed, fmt.Sprintf("the search server refuses the document (%d)", status),
					sink.Answer([]byte(result.Error.String())))
			}
		}
	}
	return nil
}

// passes reports whether an error is caused by the index or the cluster, not by a document, so that it may pass.
func passes(f *fault) bool {
	return f != nil && (f.Type == "cluster_block_exception" || f.Type == "index_not_found_exception" ||
		f.Type == "security_exception" || f.Type == "index_closed_exception")
}

// halves sends a request that was too large in two parts.
func (s *Search) halves(ctx context.Context, items []item, parked *sink.Parked) error {
	middle := len(items) / 2
	for _, half := range [][]item{items[:middle], items[middle:]} {
		var body bytes.Buffer
		for _, i := range half {
			if err := i.write(&body); err != nil {
				return err
			}
		}
		if err := s.bulk(ctx, half, body.Bytes(), parked); err != nil {
			return err
		}
	}
	return nil
}

// complete adds values that were left unchanged. It takes them from the stored documents.
func (s *Search) complete(ctx context.Context, items []*item) error {
	type document struct {
		Index string `json:"_index"`
		ID    string `json:"_id"`
	}
	request := struct {
		Docs []document `json:"docs"`
	}{}
	for _, i := range items {
		request.Docs = append(request.Docs, document{Index: i.index, ID: i.id})
	}
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	var answer struct {
		Docs []struct {
			Found  bool                       `json:"found"`
			Source map[string]json.RawMessage `json:"_source"`
		} `json:"docs"`
	}
	status, text, err := s.post(ctx, "/_mget", body, &answer)
	if err != nil {
		return err
	}
	if status >= http.StatusBadRequest || len(answer.Docs) != len(items) {
		return fmt.Errorf("the search server answered %d: %s", status, brief(text))
	}
	for i, found := range answer.Docs {
		if !found.Found {
			continue
		}
		if items[i].New, items[i].Unchanged, err = sink.Merge(items[i].New, items[i].Unchanged, found.Source); err != nil {
			return fmt.Errorf("read the row at position %d: %w", items[i].Position, err)
		}
	}
	return nil
}

// post sends a request. It returns the status and the beginning of the answer as text, and decodes the answer into answer if it is JSON.
func (s *Search) post(ctx context.Context, path string, body []byte, answer any) (status int, text string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	if path != "/_bulk" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := s.client.Perform(request) //nolint:staticcheck // The body is streamed.
	if err != nil {
		return 0, "", unreachable(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxResponse))
	if err != nil {
		return 0, "", unreachable(err)
	}
	if response.StatusCode < http.StatusBadRequest {
		if err := json.Unmarshal(content, answer); err != nil {
			return 0, "", fmt.Errorf("the search server's answer cannot be read: %w", err)
		}
	}
	return response.StatusCode, sink.Answer(content), nil
}

// brief returns the beginning of an answer, on one line.
func brief(text string) string {
	const most = 200
	text = strings.Join(strings.Fields(text), " ")
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}

// unreachable returns why there was no answer, without the URL.
func unreachable(err error) error {
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("the search server cannot be reached: %w", network.Err)
	}
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("the search server cannot be reached: %w", failed.Err)
	}
	return errors.New("the search server cannot be reached")
}
