package chaos_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/daymill/daymill/internal/capture/change"
)

// Wrong answers of a webhook.
const (
	answers500     = iota // an error
	answers429            // busy, for a second
	answers413            // always too large
	answersHalf           // half of a batch is accepted, then an error
	answersNothing        // accepted, but the connection ends
	answersLate           // accepted, but the answer comes when the fault is over
	wrongAnswers
)

// poisonous is the text of a row that the webhook refuses.
const poisonous = "poison"

// hook receives changes as an application would, and stores them.
type hook struct {
	mu       sync.Mutex
	answer   int // -1 if it works
	over     chan struct{}
	poison   bool
	events   []change.Change // in the order in which they came
	requests int
	wrong    []string
}

func newHook(poison bool) *hook {
	return &hook{answer: -1, poison: poison, over: make(chan struct{})}
}

// fail makes the webhook answer wrongly until undo.
func (h *hook) fail(answer int) (undo func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
	return h.heal
}

func (h *hook) heal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = -1
	close(h.over)
	h.over = make(chan struct{})
}

// eat makes the webhook accept what it refused before.
func (h *hook) eat() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.poison = false
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // The connection ended.
	}
	var events []change.Change
	if len(body) > 0 && body[0] == '[' {
		err = json.Unmarshal(body, &events)
	} else {
		events = make([]change.Change, 1)
		err = json.Unmarshal(body, &events[0])
	}
	status, late := h.receive(r, events, err)
	if late != nil {
		select {
		case <-late:
		case <-r.Context().Done():
		}
	}
	switch status {
	case 0:
		panic(http.ErrAbortHandler)
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
}

// receive stores changes, and returns the answer and when to send it.
func (h *hook) receive(r *http.Request, events []change.Change, err error) (status int, late <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests++
	if err != nil {
		h.wrong = append(h.wrong, "the webhook got no event: "+err.Error())
		return http.StatusBadRequest, nil
	}
	if id := r.Header.Get("Webhook-Id"); !strings.Contains(id, strconv.FormatInt(events[0].Position, 10)) {
		h.wrong = append(h.wrong, fmt.Sprintf("the webhook got position %d under the id %s", events[0].Position, id))
	}
	switch h.answer {
	case answers500:
		return http.StatusInternalServerError, nil
	case answers429:
		return http.StatusTooManyRequests, nil
	case answers413:
		return http.StatusRequestEntityTooLarge, nil
	}
	if h.poison && slices.ContainsFunc(events, func(c change.Change) bool { return strings.Contains(string(c.New), `"`+poisonous+`"`) }) {
		return http.StatusUnprocessableEntity, nil
	}
	switch h.answer {
	case answersHalf:
		h.events = append(h.events, events[:len(events)/2]...)
		return http.StatusInternalServerError, nil
	case answersNothing:
		h.events = append(h.events, events...)
		return 0, nil
	case answersLate:
		h.events = append(h.events, events...)
		return http.StatusOK, h.over
	}
	h.events = append(h.events, events...)
	return http.StatusOK, nil
}

// received is what a webhook received.
type received struct {
	keys    map[string][]change.Change // once each, in the order of their first arrival
	repeats int
	wrong   []string
}

// received checks the order and the repeats of the changes: a repeated change is the same, and a new one is later than all others of its key.
func (h *hook) received() received {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := received{keys: map[string][]change.Change{}, wrong: slices.Clone(h.wrong)}
	seen := map[int64]change.Change{}
	for _, c := range h.events {
		key := change.Key(c)
		if before, again := seen[c.Position]; again {
			r.repeats++
			if same(before) != same(c) {
				r.wrong = append(r.wrong, fmt.Sprintf("position %d came as %s and as %s", c.Position, same(before), same(c)))
			}
			continue
		}
		seen[c.Position] = c
		if of := r.keys[key]; len(of) > 0 && of[len(of)-1].Position > c.Position {
			r.wrong = append(r.wrong, fmt.Sprintf("%s came at position %d after %d", key, c.Position, of[len(of)-1].Position))
		}
		r.keys[key] = append(r.keys[key], c)
	}
	return r
}

func same(c change.Change) string {
	return fmt.Sprintf("%s %s %s at %s", change.Key(c), c.Op, c.New, c.CommittedAt.Format(time.RFC3339Nano))
}
