package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// errWorse says that ratios are worse than the committed ones by more than their margins.
var errWorse = errors.New("worse than the committed ratios")

// Kept is a committed ratio.
type Kept struct {
	ID    string  `json:"id"`
	Value float64 `json:"value"`
	// Margin is the share of the value by which a later one may be worse.
	Margin float64 `json:"margin"`
	// Slack is how much worse it may be in addition, for ratios near 0.
	Slack   float64 `json:"slack,omitempty"`
	AtLeast bool    `json:"at_least,omitempty"`
}

// margin returns the margin and slack of a new entry: times vary by a fifth between runs, latencies and longest statements by more, WAL hardly.
func margin(r Ratio) (ofValue, slack float64) {
	switch {
	case strings.HasSuffix(r.ID, ".wal"):
		return 0.10, 0.002
	case strings.HasPrefix(r.ID, "foreground."), strings.HasSuffix(r.ID, ".longest"):
		return 0.50, 0
	default:
		return 0.25, 0
	}
}

// ratios returns the ratios to compare: figures with a unit depend on the machine.
func ratios(results Results) (all []Ratio) {
	for _, s := range results.Scenarios {
		for _, r := range s.Ratios {
			if r.Unit == "" {
				all = append(all, r)
			}
		}
	}
	return all
}

func readKept(path string) ([]Kept, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var kept []Kept
	if err := json.Unmarshal(text, &kept); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return kept, nil
}

// compare returns a line for each ratio that is worse than the committed one by more than its margin.
func compare(kept []Kept, results Results) (worse []string) {
	for _, r := range ratios(results) {
		at := slices.IndexFunc(kept, func(k Kept) bool { return k.ID == r.ID })
		if at < 0 {
			continue
		}
		k, figure := kept[at], r.Figure()
		bound := k.Value*(1+k.Margin) + k.Slack
		if k.AtLeast {
			bound = k.Value*(1-k.Margin) - k.Slack
		}
		if k.AtLeast && figure < bound || !k.AtLeast && figure > bound {
			worse = append(worse, fmt.Sprintf("%s: %s is %s, was %s, and may be %s",
				r.ID, r.What, r.figure(figure), r.figure(k.Value), r.figure(bound)))
		}
	}
	return worse
}

// update adds this run's ratios to the committed ones, and keeps their margins.
func update(kept []Kept, results Results) []Kept {
	for _, r := range ratios(results) {
		at := slices.IndexFunc(kept, func(k Kept) bool { return k.ID == r.ID })
		if at < 0 {
			ofValue, slack := margin(r)
			kept = append(kept, Kept{ID: r.ID, Margin: ofValue, Slack: slack, AtLeast: r.AtLeast})
			at = len(kept) - 1
		}
		kept[at].Value = r.Figure()
	}
	slices.SortFunc(kept, func(a, b Kept) int { return cmp.Compare(a.ID, b.ID) })
	return kept
}

// keep writes the files of the options, and compares the ratios.
func keep(out io.Writer, o options, results Results) error {
	if o.json != "" {
		if err := writeJSON(o.json, results); err != nil {
			return err
		}
	}
	if o.markdown != "" {
		if err := rewrite(o.markdown, results); err != nil {
			return err
		}
	}
	if o.write != "" {
		kept, err := readKept(o.write)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := writeJSON(o.write, update(kept, results)); err != nil {
			return err
		}
	}
	if o.check == "" {
		return nil
	}
	kept, err := readKept(o.check)
	if err != nil {
		return err
	}
	worse := compare(kept, results)
	fmt.Fprintf(out, "\nCompared with %s: %d worse\n", o.check, len(worse))
	if len(worse) == 0 {
		return nil
	}
	return fmt.Errorf("%w:\n%s", errWorse, strings.Join(worse, "\n"))
}

func readResults(path string) (results Results, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return results, err
	}
	if err := json.Unmarshal(text, &results); err != nil {
		return results, fmt.Errorf("read %s: %w", path, err)
	}
	return results, nil
}

func writeJSON(path string, what any) error {
	text, err := json.MarshalIndent(what, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644) //nolint:gosec // A document for everybody.
}
