package standing

import (
	"context"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
)

// Names of the gauges.
const (
	readable    = "daymill_archive_readable"
	archiveUp   = "daymill_archive_up"
	lagBytes    = "daymill_archive_lag_bytes"
	retainedWAL = "daymill_archive_retained_wal_bytes"
	lastAge     = "daymill_archive_last_transaction_age_seconds"
	segmentAge  = "daymill_archive_segment_age_seconds"
	baseAgeNow  = "daymill_archive_base_age_seconds"
	proofAgeNow = "daymill_archive_proof_age_seconds"
	proofGood   = "daymill_archive_proof_good"
	size        = "daymill_archive_bytes"
	gaps        = "daymill_archive_known_gaps"
	gapsOpen    = "daymill_archive_open_gaps"
)

// Gauges returns the gauges of an archive. If source is nil, there is nothing to read.
func Gauges(source *Source, conn *postgres.DB, clock pace.Clock) telemetry.Gauges {
	return telemetry.Gauges{
		All: []telemetry.Gauge{
			{Name: readable, Help: "1 if the archive's files can be read; if 0, most of the other gauges are missing."},
			{Name: archiveUp, Help: "1 while a process archives the database."},
			{Name: lagBytes, Help: "WAL that is not archived yet."},
			{Name: retainedWAL, Help: "WAL that the archive's slot holds back."},
			{Name: lastAge, Help: "How long ago the last archived transaction was committed."},
			{Name: segmentAge, Help: "How long ago the last transaction in a sealed segment was committed."},
			{Name: baseAgeNow, Help: "How old the last base is."},
			{Name: proofAgeNow, Help: "How long ago the archive was last restored and compared with its source."},
			{Name: proofGood, Help: "1 if the last proof found no difference."},
			{Name: size, Labels: []string{"kind"}, Help: "Bytes of the archive's files."},
			{Name: gaps, Help: "Gaps in the archive."},
			{Name: gapsOpen, Help: "1 if there is no base after the last gap yet, so the archive cannot be restored to its end."},
		},
		Read: func(ctx context.Context) ([]telemetry.Sample, error) {
			if source == nil {
				return nil, nil
			}
			facts, err := source.Read(ctx, conn, clock.Now())
			if err != nil {
				return nil, err
			}
			return facts.samples(), nil
		},
	}
}

func (f Facts) samples() []telemetry.Sample {
	samples := []telemetry.Sample{telemetry.Reading(readable, telemetry.Flag(f.Unreadable == nil))}
	if f.Unreadable != nil {
		return samples
	}
	samples = append(samples,
		telemetry.Reading(archiveUp, telemetry.Flag(f.HasSlot && f.Slot.Active)),
		telemetry.Reading(lagBytes, float64(f.Slot.Behind)),
		telemetry.Reading(retainedWAL, float64(f.Slot.Retained)),
		telemetry.Reading(gaps, float64(len(f.Chain.Gaps))),
		telemetry.Reading(gapsOpen, telemetry.Flag(f.Chain.Gapped())),
	)
	age := func(gauge string, at time.Time) {
		if !at.IsZero() {
			samples = append(samples, telemetry.Reading(gauge, f.Now.Sub(at).Seconds()))
		}
	}
	_, last := f.Chain.Written()
	age(lastAge, last)
	for _, seal := range slices.Backward(f.Chain.Segments) {
		if seal.Transactions > 0 {
			age(segmentAge, seal.LastCommit)
			break
		}
	}
	if n := len(f.Chain.Bases); n > 0 {
		age(baseAgeNow, f.Chain.Bases[n-1].At)
	}
	if n := len(f.Chain.Proofs); n > 0 {
		proof := f.Chain.Proofs[n-1]
		age(proofAgeNow, proof.At)
		samples = append(samples, telemetry.Reading(proofGood, telemetry.Flag(proof.Failure == "")))
	}
	inBases, inSegments := Bytes(&f.Chain)
	return append(samples, telemetry.Reading(size, float64(inBases), "base"), telemetry.Reading(size, float64(inSegments), "segment"))
}

// Bytes returns the bytes of the archive's bases and of its sealed segments.
func Bytes(c *chain.Chain) (inBases, inSegments int64) {
	for i := range c.Bases {
		inBases += c.Bases[i].Bytes()
	}
	for i := range c.Segments {
		inSegments += c.Segments[i].File.Bytes
	}
	return inBases, inSegments
}
