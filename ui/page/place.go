package page

import (
	"slices"
	"strings"
)

// Place is an entry of the navigation. Each package of pages contributes its own.
type Place struct {
	Name string
	Path string   // first part of the path; empty for the overview
	Also []string // first parts of the paths of other pages that belong to it
}

// isAt reports whether a page belongs to this entry.
func (p Place) isAt(path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return first == p.Path || slices.Contains(p.Also, first)
}

func (p Place) parts() []string {
	if p.Path == "" {
		return nil
	}
	return []string{p.Path}
}
