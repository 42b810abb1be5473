package event

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/daymill/daymill/internal/entity"
)

// checker turns rows into events. It refuses in Go what Postgres would refuse, because only Go knows the line of a row.
type checker struct {
	entityType entity.Type
	timeFormat TimeFormat
	zone       *zone
	typeMap    map[string]string

	// types caches the checked and mapped event types, because a file has few types and many rows.
	types map[string]string
}

const mostTypes = 10_000

func newChecker(options Options) *checker {
	c := &checker{
		entityType: options.EntityType, timeFormat: options.TimeFormat, zone: newZone(options.TimeZone),
		typeMap: options.TypeMap, types: map[string]string{},
	}
	return c
}

// check turns a row into an event, or returns what is wrong with the row.
func (c *checker) check(r *row, e *Event) (err error) {
	e.Line = r.line
	if e.Entity, err = c.entity(r.entity); err != nil {
		return err
	}
	if e.Type, err = c.kind(r.kind); err != nil {
		return err
	}
	e.At, err = c.timeFormat.instant(r.time, c.zone)
	return err
}

func (c *checker) entity(text string) (entity.ID, error) {
	if c.entityType == entity.Text {
		if err := checkText("the entity id", text); err != nil {
			return "", err
		}
		return entity.ID(strings.Clone(text)), nil // A field keeps its whole row in memory.
	}
	if text == "" {
		return "", errors.New("the entity id is empty")
	}
	return c.entityType.Parse(text)
}

func (c *checker) kind(text string) (string, error) {
	if kind, has := c.types[text]; has {
		return kind, nil
	}
	raw := strings.Clone(text)
	kind, has := c.typeMap[raw]
	if !has {
		kind = raw
	}
	if err := checkText("the event type", kind); err != nil {
		return "", err
	}
	if len(c.types) >= mostTypes {
		clear(c.types)
	}
	c.types[raw] = kind
	return kind, nil
}

// checkText refuses texts that Postgres cannot store, or cannot index.
func checkText(what, text string) error {
	switch {
	case text == "":
		return fmt.Errorf("%s is empty", what)
	case len(text) > MaxLength:
		return fmt.Errorf("%s %q has %d bytes, and at most %d are allowed", what, clip(text), len(text), MaxLength)
	case !utf8.ValidString(text):
		return fmt.Errorf("%s %q is not UTF-8", what, clip(text))
	case strings.IndexByte(text, 0) >= 0:
		return fmt.Errorf("%s %q has a zero byte, which Postgres cannot store in a text", what, clip(text))
	default:
		return nil
	}
}
