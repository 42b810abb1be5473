// Package mutant breaks the code in one way for a build. It does not change the repository's files.
package mutant

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Edit replaces text in a file.
type Edit struct {
	File string // below the repository's directory; queries are edited in the code that sqlc generates
	// After is text that is in the file exactly once, and From the first text after it that is replaced. Without After, From must be in the file
	// exactly once.
	After, From string
	To          string
}

// ErrChanged says that the code has changed, so the edit has to change, too.
var ErrChanged = errors.New("the code has changed, and the mutant has to be changed with it")

// apply returns the text after the edit.
func (e Edit) apply(text string) (string, error) {
	anchor := e.After
	if anchor == "" {
		anchor = e.From
	}
	if n := strings.Count(text, anchor); n != 1 {
		return "", fmt.Errorf("%w: %q is in %s %d times", ErrChanged, anchor, e.File, n)
	}
	start := strings.Index(text, anchor)
	if e.After != "" {
		start += len(anchor)
	}
	at := strings.Index(text[start:], e.From)
	if at < 0 || e.From == e.To {
		return "", fmt.Errorf("%w: %q does not follow %q in %s", ErrChanged, e.From, e.After, e.File)
	}
	at += start
	return text[:at] + e.To + text[at+len(e.From):], nil
}

// Overlay writes the edited files to a directory, and a file for `go build -overlay`, whose path it returns. A build with that overlay uses the
// edited files instead of the repository's.
func Overlay(root, dir string, edits ...Edit) (string, error) {
	texts := map[string]string{}
	for _, e := range edits {
		path := filepath.Join(root, e.File)
		if _, has := texts[path]; !has {
			content, err := os.ReadFile(path)
			if err != nil {
				return "", fmt.Errorf("read what is to be edited: %w", err)
			}
			texts[path] = string(content)
		}
		text, err := e.apply(texts[path])
		if err != nil {
			return "", err
		}
		texts[path] = text
	}
	replace := map[string]string{}
	for path, text := range texts {
		replace[path] = filepath.Join(dir, strconv.Itoa(len(replace))+filepath.Ext(path))
		if err := os.WriteFile(replace[path], []byte(text), 0o600); err != nil {
			return "", fmt.Errorf("write an edited file: %w", err)
		}
	}
	content, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("write the overlay: %w", err)
	}
	path := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return "", fmt.Errorf("write the overlay: %w", err)
	}
	return path, nil
}
