package telemetry

import (
	"context"
	"log/slog"
)

// Log is the listener that writes log lines, with the level and the message that each signal has.
type Log struct {
	Logger *slog.Logger
	// Quiet writes every line at debug: for a command that prints the result itself.
	Quiet bool
}

// Listen writes a line, and returns ctx.
func (l Log) Listen(ctx context.Context, signal Signal) context.Context {
	level, message := signal.Line()
	if l.Quiet {
		level = slog.LevelDebug
	}
	if !l.Logger.Enabled(ctx, level) {
		return ctx
	}
	attrs := signal.Attrs()
	kept := attrs[:0]
	for _, attr := range attrs {
		if attr.Value.Kind() != slog.KindString || attr.Value.String() != "" {
			kept = append(kept, attr)
		}
	}
	l.Logger.LogAttrs(ctx, level, message, kept...) //nolint:sloglint // The messages are constants of the signals.
	return ctx
}

// line returns the level and the message of an event.
func line(event Event) (slog.Level, string) {
	switch e := event.(type) {
	case RunStart:
		return slog.LevelDebug, "run started"
	case RunStop:
		return slog.LevelInfo, "run stopped"
	case RunError:
		return slog.LevelError, "run failed"
	case PhaseStart:
		return slog.LevelDebug, "phase started"
	case PhaseStop:
		return slog.LevelDebug, "phase stopped"
	case Slice:
		return slog.LevelDebug, "slice"
	case Batch:
		return slog.LevelDebug, "batch"
	case RequestClaim:
		return slog.LevelDebug, "requests claimed"
	case RequestSatisfy:
		return slog.LevelDebug, "requests satisfied"
	case RequestEnqueue:
		return slog.LevelDebug, "request got a job"
	case RunRescue:
		return slog.LevelWarn, "date of a dead worker is free for another"
	case Fault:
		return slog.LevelError, "something that Daymill needs is missing or changed"
	case BackfillStart:
		return slog.LevelInfo, "backfill started"
	case BackfillAdvance:
		return slog.LevelDebug, "backfill advanced"
	case BackfillStop:
		return slog.LevelInfo, "backfill stopped"
	case AccessRefuse:
		if e.Throttled { // A line for each wrong credential is enough.
			return slog.LevelDebug, "request refused after too many wrong credentials"
		}
		return slog.LevelWarn, "wrong credentials"
	case VerifyStart:
		return slog.LevelDebug, "verification started"
	case Verify:
		switch {
		case e.Err != nil:
			return slog.LevelError, "verification failed"
		case e.Result == Drifted:
			return slog.LevelWarn, "a date's metrics do not match its events"
		case e.Result == Interrupted:
			return slog.LevelInfo, "verification interrupted"
		default:
			return slog.LevelInfo, "date verified"
		}
	case ViewTaskStart, ViewRefreshStart:
		return slog.LevelDebug, event.Name()
	case ViewTaskStop:
		return e.line()
	case ViewRefresh:
		if e.Err != nil {
			return slog.LevelWarn, "changes could not be applied to a view"
		}
		return slog.LevelDebug, "view refreshed"
	case ViewDrift:
		if e.State == "open" {
			return slog.LevelWarn, "a table of a view has changed, and somebody should decide"
		}
		return slog.LevelInfo, "a table of a view has changed"
	case ViewSwap:
		return slog.LevelInfo, "view served from a new table"
	default:
		return captureLine(event)
	}
}

// captureLine is line for the events of capture.
func captureLine(event Event) (slog.Level, string) {
	switch e := event.(type) {
	case StreamStart:
		return slog.LevelInfo, "a stream is read"
	case StreamError:
		return slog.LevelWarn, "a stream is not read"
	case Gap:
		return slog.LevelError, "changes of a stream are missing"
	case LandStart:
		return slog.LevelDebug, "landing started"
	case Land:
		return slog.LevelDebug, "landing stopped"
	case DeliveryStart:
		return slog.LevelDebug, "delivery started"
	case Delivery:
		switch {
		case e.Outcome == Failed:
			return slog.LevelWarn, "a consumer does not take changes"
		case e.Letters > 0:
			return slog.LevelWarn, "changes became dead letters"
		default:
			return slog.LevelDebug, "changes delivered"
		}
	case ChunkStart:
		return slog.LevelDebug, "chunk started"
	case Chunk:
		if e.Last && e.Err == nil {
			return slog.LevelInfo, "snapshot complete"
		}
		return slog.LevelDebug, "chunk stopped"
	default:
		return archiveLine(event)
	}
}

// archiveLine is line for the events of the archive.
func archiveLine(event Event) (slog.Level, string) {
	switch e := event.(type) {
	case ArchiveStart:
		return slog.LevelInfo, "the database is archived"
	case ArchiveError:
		return slog.LevelWarn, "the database is not archived"
	case ArchiveSeal:
		return slog.LevelDebug, "segment sealed"
	case ArchiveGap:
		return slog.LevelError, "the archive has a gap"
	case ArchiveBase:
		if e.Err != nil {
			return slog.LevelError, "the archive's base failed"
		}
		return slog.LevelInfo, "the archive has a new base"
	case ArchiveProof:
		if e.Failure != "" {
			return slog.LevelError, "the archive is not equal to its source"
		}
		return slog.LevelInfo, "the archive was restored, and is equal to its source"
	default:
		return slog.LevelDebug, event.Name()
	}
}
