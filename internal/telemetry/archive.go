package telemetry

import (
	"log/slog"
	"time"
)

// ArchiveStart says that a process has begun to archive a database.
type ArchiveStart struct{ Database string }

// Name is archive_start.
func (ArchiveStart) Name() string { return "archive_start" }

// Attrs are its fields.
func (e ArchiveStart) Attrs() []slog.Attr { return []slog.Attr{slog.String("database", e.Database)} }

// ArchiveError says that the database could not be archived. It is tried again.
type ArchiveError struct{ Err error }

// Name is archive_error.
func (ArchiveError) Name() string { return "archive_error" }

// Attrs are its fields.
func (e ArchiveError) Attrs() []slog.Attr { return []slog.Attr{failure(e.Err)} }

// ArchiveSeal says that a segment of the archive is complete.
type ArchiveSeal struct {
	Position     string // up to where the archive goes
	Transactions int
	Bytes        int64
	Text         int64 // bytes before they were compressed
	LastCommit   time.Time
}

// Name is archive_seal.
func (ArchiveSeal) Name() string { return "archive_seal" }

// Attrs are its fields.
func (e ArchiveSeal) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("position", e.Position), slog.Int("transactions", e.Transactions), slog.Int64("bytes", e.Bytes), slog.Int64("text_bytes", e.Text),
		slog.Time("last_commit", e.LastCommit),
	}
}

// ArchiveGap says that the archive cannot be restored from a position to its next base.
type ArchiveGap struct {
	From   string
	Kind   string // slot or schema
	Reason string
}

// Name is archive_gap.
func (ArchiveGap) Name() string { return "archive_gap" }

// Attrs are its fields.
func (e ArchiveGap) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("from", e.From), slog.String("kind", e.Kind), slog.String("error", e.Reason)}
}

// ArchiveBase says that a base was made, or could not be.
type ArchiveBase struct {
	Position string
	Reason   string
	Bytes    int64
	Took     time.Duration
	Err      error // nil if it is complete
}

// Name is archive_base.
func (ArchiveBase) Name() string { return "archive_base" }

// Attrs are its fields.
func (e ArchiveBase) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("position", e.Position), slog.String("reason", e.Reason), slog.Int64("bytes", e.Bytes), milliseconds("took_ms", e.Took), failure(e.Err),
	}
}

// ArchiveProof says that the archive was restored and compared with its source.
type ArchiveProof struct {
	Position string
	Tables   int
	Rows     int64
	Failure  string // empty if everything was equal
	Took     time.Duration
}

// Name is archive_proof.
func (ArchiveProof) Name() string { return "archive_proof" }

// Attrs are its fields.
func (e ArchiveProof) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("position", e.Position), slog.Int("tables", e.Tables), slog.Int64("rows", e.Rows), milliseconds("took_ms", e.Took), slog.String("error", e.Failure),
	}
}
