package worker

import (
	"context"
	"encoding/json"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// cancelGarbage cancels jobs whose arguments cannot be decoded: another attempt would fail as well. The job's error says what
// is wrong with them.
type cancelGarbage struct{}

// HandleError is called after every failed attempt.
func (cancelGarbage) HandleError(_ context.Context, job *rivertype.JobRow, _ error) *river.ErrorHandlerResult {
	kind, known := kindOf(job.Kind)
	if !known {
		return nil
	}
	return &river.ErrorHandlerResult{SetCancelled: json.Unmarshal(job.EncodedArgs, kind.args()) != nil}
}

// HandlePanic leaves a panic to River's retries.
func (cancelGarbage) HandlePanic(context.Context, *rivertype.JobRow, any, string) *river.ErrorHandlerResult {
	return nil
}
