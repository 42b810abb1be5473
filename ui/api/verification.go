package api

import (
	"errors"
	"net/http"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/verification"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/jobs"
	"github.com/daymill/daymill/ui/reply"
	verificationpage "github.com/daymill/daymill/ui/verification"
)

type verificationsAnswer struct {
	Verifications []verification.Done `json:"verifications"`
	// NextCursor is the cursor for the next call; null on the last page.
	NextCursor *string `json:"next_cursor"`
}

// apiListVerifications lists verifications, newest first.
func (s *API) apiListVerifications(w http.ResponseWriter, r *http.Request) error {
	ctx, query := r.Context(), r.URL.Query()
	filter, err := verificationpage.ParseFilter(query)
	if err != nil {
		return unprocessable(err)
	}
	limit, before, err := pageOf(query)
	if err != nil {
		return err
	}
	answer := verificationsAnswer{Verifications: []verification.Done{}}
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		listed, err := verification.List(ctx, on, filter, before, 0, limit)
		answer.Verifications = append(answer.Verifications, listed.Done...)
		if listed.Older != 0 {
			answer.NextCursor = nextCursor(listed.Older)
		}
		return err
	})
	if err != nil {
		return err
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// verifyRequest names a date, a range, or the size of a sample.
type verifyRequest struct {
	rollupRequest

	Sample int  `json:"sample"`
	Repair bool `json:"repair"`
}

func (q verifyRequest) args() (jobs.VerifyDatesArgs, error) {
	args := jobs.VerifyDatesArgs{Sample: q.Sample, Repair: q.Repair}
	if q.rollupRequest == (rollupRequest{}) && q.Sample != 0 {
		return args, nil
	}
	if q.Sample != 0 {
		return args, errors.New("give either dates or the size of a sample, not both")
	}
	dates, err := q.dates()
	args.From, args.To = dates.First, dates.Last
	return args, err
}

type verifyAnswer struct {
	JobID int64 `json:"job_id"`
	// Enqueued is false if a job for the same dates is already open; the answer then has that job's id.
	Enqueued bool `json:"enqueued"`
}

// apiVerify enqueues a job that verifies dates.
func (s *API) apiVerify(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	var request verifyRequest
	if err := decode(r, &request); err != nil {
		return err
	}
	args, err := request.args()
	if err != nil {
		return unprocessable(err)
	}
	id, enqueued, err := s.Jobs.Verify(ctx, args, via(r.Context()))
	if errors.Is(err, worker.ErrVerify) {
		return unprocessable(err)
	}
	if err != nil {
		return err
	}
	reply.JSON(w, "application/json", http.StatusAccepted, verifyAnswer{JobID: id, Enqueued: enqueued})
	return nil
}
