package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/ui/format"
)

// examplesShown is how many keys that differ a page names.
const examplesShown = 5

// taskBadge returns the class of a task's badge.
func taskBadge(state string) string {
	return map[string]string{
		view.Queued: "state-waiting", view.Running: "state-running", view.Done: "state-complete", view.Failed: "state-failed", view.Canceled: "state-cancelled",
	}[state]
}

// progress returns how many keys a task has done, of how many, and how much longer it will take.
func progress(t view.Task, now time.Time) string {
	text := format.Plural(t.Done, "key")
	if t.State == view.Running && t.Total > 0 {
		text = fmt.Sprintf("%s of about %s", format.Number(t.Done), format.Plural(t.Total, "key"))
	}
	if t.Copied > 0 {
		text += ", " + format.Plural(t.Copied, "row") + " of other databases " + t.CopiedVerb()
	}
	if left := t.Left(now); left > 0 {
		text += ", about " + format.Duration(left.Round(time.Second)) + " left"
	}
	return text
}

// result returns the outcome of a task: its error, or what a verification found.
func result(t view.Task) string {
	var parts []string
	if t.Error != "" {
		parts = append(parts, t.Error)
	}
	if t.Kind == view.TaskVerify && t.State != view.Queued {
		parts = append(parts, format.Plural(t.Differing, "key")+" "+map[bool]string{true: "differs", false: "differ"}[t.Differing == 1])
		if t.Repair {
			parts = append(parts, format.Number(t.Repaired)+" repaired")
		}
	}
	if t.Misfits > 0 {
		parts = append(parts, format.Plural(t.Misfits, "value")+" that did not fit the type became NULL")
	}
	if len(t.Examples) > 0 {
		parts = append(parts, "such as "+strings.Join(t.Examples[:min(examplesShown, len(t.Examples))], ", "))
	}
	return strings.Join(parts, "; ")
}

func because(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}
