package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/bucket"
	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/keeper"
	"github.com/daymill/daymill/internal/archive/proof"
	"github.com/daymill/daymill/internal/archive/retention"
	"github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/worker"
)

type archiveCmd struct {
	Init    archiveInitCmd    `cmd:"" help:"Begin an archive: create event triggers, a publication and a slot, and dump the database."`
	Run     archiveRunCmd     `cmd:"" help:"Write every transaction to the archive, until Ctrl-C. A worker with DAYMILL_ARCHIVE does the same."`
	Base    archiveBaseCmd    `cmd:"" help:"Dump the database again: a restore begins with the last base before its target."`
	Status  archiveStatusCmd  `cmd:"" help:"Report what the archive covers, and how much WAL its slot holds back."`
	Verify  archiveVerifyCmd  `cmd:"" help:"Compare the archive's files with their checksums."`
	Restore archiveRestoreCmd `cmd:"" help:"Restore the archive into an empty database, up to its end, a time or a position, or continue an interrupted restore."`
	Prove   archiveProveCmd   `cmd:"" help:"Restore into a scratch database, and compare every table with the source."`
	Prune   archivePruneCmd   `cmd:"" help:"Delete segments and bases that are older than the retention."`
	Remove  archiveRemoveCmd  `cmd:"" help:"Remove the slot, the publication and the event triggers. The files stay."`
}

// openArchive opens the archive of --archive.
func (a *app) openArchive(ctx context.Context) (*store.Store, error) {
	if a.Archive == "" {
		return nil, usagef("no archive is given: set DAYMILL_ARCHIVE or --archive, such as file:///backups/app")
	}
	place, err := bucket.Open(ctx, a.Archive)
	if err != nil {
		return nil, usageError{err}
	}
	return place, nil
}

// readArchive opens the archive and reads what it has. The caller closes it.
func (a *app) readArchive(ctx context.Context) (*store.Store, chain.Chain, error) {
	place, err := a.openArchive(ctx)
	if err != nil {
		return nil, chain.Chain{}, err
	}
	archive, err := chain.Read(ctx, place)
	if err != nil {
		_ = place.Close()
		return nil, chain.Chain{}, err
	}
	return place, archive, nil
}

// archive returns the source of the archive's state; nil if no archive is given. It opens the archive once.
func (a *app) archive(ctx context.Context) (*standing.Source, error) {
	if a.Archive == "" || a.kept != nil {
		return a.kept, nil
	}
	place, err := a.openArchive(ctx)
	if err != nil {
		return nil, err
	}
	a.kept = &standing.Source{Store: place}
	return a.kept, nil
}

// archiveAt opens the archive and its database.
func (a *app) archiveAt(ctx context.Context, verb string) (config base.Config, done func(), err error) {
	place, err := a.openArchive(ctx)
	if err != nil {
		return config, nil, err
	}
	db, err := a.open(ctx, verb)
	if err != nil {
		return config, nil, errors.Join(err, place.Close())
	}
	return base.Config{Source: db, URL: a.DatabaseURL, Store: place, Clock: a.clock()}, func() {
		db.Close()
		_ = place.Close() // Nothing is left to write.
	}, nil
}

// identityOption reads encrypted archives.
type identityOption struct {
	Identity string `env:"DAYMILL_ARCHIVE_IDENTITY" placeholder:"FILE" help:"The file with the age identity that decrypts the archive, as age-keygen writes it."`
}

func (o identityOption) codec() (codec store.Codec, err error) {
	if err := codec.Identify(o.Identity); err != nil {
		return codec, usageError{err}
	}
	return codec, nil
}

// baseOptions are the options of what makes bases.
type baseOptions struct {
	Jobs int `env:"DAYMILL_ARCHIVE_JOBS" default:"1" help:"How many connections dump the rows of a base at a time: pg_dump's, and others for tables of 8 MiB or more."`
}

func (o baseOptions) check() error {
	if o.Jobs < 1 {
		return usagef("--jobs is %d: give at least 1", o.Jobs)
	}
	return nil
}

type archiveInitCmd struct {
	baseOptions

	Compress  string   `env:"DAYMILL_ARCHIVE_COMPRESS" enum:"none,zstd,gzip" default:"none" help:"How files are compressed (${enum})."`
	Recipient []string `env:"DAYMILL_ARCHIVE_RECIPIENT" placeholder:"KEY" help:"age public keys (age1…) to encrypt files for. The identity is needed only for a restore."`
}

// Run begins an archive.
func (c *archiveInitCmd) Run(ctx context.Context, a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	if _, err := store.NewCodec(c.Compress, c.Recipient); err != nil {
		return usageError{err}
	}
	config, done, err := a.archiveAt(ctx, "archive init")
	if err != nil {
		return err
	}
	defer done()
	config.Jobs = c.Jobs
	manifest, err := base.Init(ctx, config, base.Options{Compression: c.Compress, Recipients: c.Recipient})
	if err != nil {
		return err
	}
	a.printf("the archive of %s begins at %s: run daymill archive run to continue it\n", manifest.Database, manifest.From)
	return nil
}

// segmentOptions are the options for writing the archive.
type segmentOptions struct {
	SegmentSize int64         `name:"segment-size" env:"DAYMILL_ARCHIVE_SEGMENT_SIZE" default:"67108864" help:"Bytes of text after which a segment is sealed and another one begins."`
	SegmentAge  time.Duration `name:"segment-age" env:"DAYMILL_ARCHIVE_SEGMENT_AGE" default:"5m" help:"Time after which a segment is sealed and another one begins. In a bucket, or encrypted, transactions are in the archive once their segment is sealed."`
	WALLimit    int64         `name:"wal-limit" env:"DAYMILL_ARCHIVE_WAL_LIMIT" default:"17179869184" help:"Bytes of WAL that the archive's slot may hold back. If it holds back more, it is dropped, the archive has a gap, and a new base follows."`
}

func (o segmentOptions) check() error {
	if o.SegmentSize < 1 || o.SegmentAge <= 0 || o.WALLimit < 1 {
		return usagef("--segment-size, --segment-age or --wal-limit is too small: give values above 0")
	}
	return nil
}

type archiveRunCmd struct {
	segmentOptions
	baseOptions
}

// archiveOptions are the options of a worker that keeps the archive.
type archiveOptions struct {
	segmentOptions
	baseOptions
	retentionOptions
	identityOption

	Scratch    string        `env:"DAYMILL_ARCHIVE_SCRATCH" placeholder:"URL" help:"The Postgres for proofs of the archive. A proof creates a database there and drops it. Without this option, there are no proofs."`
	BaseEvery  time.Duration `env:"DAYMILL_ARCHIVE_BASE_EVERY" default:"168h" help:"The age of the last base at which the worker makes the next one."`
	ProveEvery time.Duration `env:"DAYMILL_ARCHIVE_PROVE_EVERY" default:"168h" help:"The age of the last proof at which the worker makes the next one."`
}

// archiveWork returns what the worker needs to keep the archive; nil if no archive is given.
func (o archiveOptions) archiveWork(ctx context.Context, a *app) (*worker.Archive, error) {
	if a.Archive == "" {
		return nil, nil //nolint:nilnil // No archive is given.
	}
	if err := errors.Join(o.segmentOptions.check(), o.baseOptions.check(), o.retentionOptions.check()); err != nil {
		return nil, err
	}
	codec, err := o.codec()
	if err != nil {
		return nil, err
	}
	place, err := a.openArchive(ctx)
	if err != nil {
		return nil, err
	}
	return &worker.Archive{
		URL: a.DatabaseURL, Store: place, Codec: codec, Size: o.SegmentSize, Age: o.SegmentAge, Limit: o.WALLimit, Jobs: o.Jobs,
		Rule: o.rule(), Scratch: o.Scratch, BaseEvery: o.BaseEvery, ProveEvery: o.ProveEvery,
	}, nil
}

// Run writes transactions to the archive until the process is told to stop.
func (c *archiveRunCmd) Run(ctx context.Context, a *app) error {
	if err := errors.Join(c.segmentOptions.check(), c.baseOptions.check()); err != nil {
		return err
	}
	config, done, err := a.archiveAt(ctx, "archive run")
	if err != nil {
		return err
	}
	defer done()
	config.Jobs = c.Jobs
	logger := a.logger()
	k := keeper.Keeper{
		Config: config, Size: c.SegmentSize, Age: c.SegmentAge, Limit: c.WALLimit,
		Listeners: telemetry.Listeners{&telemetry.Log{Logger: logger}},
	}
	return k.Run(ctx)
}

type archiveBaseCmd struct{ baseOptions }

// Run makes a base.
func (c *archiveBaseCmd) Run(ctx context.Context, a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	config, done, err := a.archiveAt(ctx, "archive base")
	if err != nil {
		return err
	}
	defer done()
	config.Jobs = c.Jobs
	made, err := base.Take(ctx, config, "asked for")
	if err != nil {
		return err
	}
	a.printf("base %s, %s bytes in %s\n", made.Position, number(made.Bytes()), plural(int64(len(made.Files)+1), "file"))
	return nil
}

type archiveStatusCmd struct{}

// Run reports what the archive covers.
func (c *archiveStatusCmd) Run(ctx context.Context, a *app) error {
	place, archive, err := a.readArchive(ctx)
	if err != nil {
		return err
	}
	defer place.Close()
	c.covers(a, archive)
	db, err := a.open(ctx, "archive status")
	if err != nil {
		return err
	}
	defer db.Close()
	facts, err := (&standing.Source{Store: place}).Read(ctx, db, a.clock().Now())
	if err != nil {
		return err
	}
	if facts.HasSlot {
		read := map[bool]string{true: "is read", false: "nobody reads it"}[facts.Slot.Active]
		a.printf("slot\t%s, %s; it holds back %s bytes of WAL\n", archive.Manifest.Slot, read, number(facts.Slot.Retained))
	}
	findings := health.Judge(facts.Checks())
	for _, finding := range findings {
		a.printf("%s\t%s\n", finding.Level, finding.Sentence)
	}
	if health.Count(findings, health.Bad) > 0 {
		return errArchive
	}
	if slices.ContainsFunc(findings, func(f health.Finding) bool { return f.Check == standing.Late }) {
		return errArchiveLate
	}
	return nil
}

var (
	errArchive     = errors.New("the archive cannot be relied on: see the findings above, and what fixes them")
	errArchiveLate = errors.New("the archive is behind, or soon will be: see the findings above, and what fixes them")
)

func (c *archiveStatusCmd) covers(a *app, archive chain.Chain) {
	to, last := archive.Written()
	m := archive.Manifest
	a.printf("database\t%s\n", m.Database)
	if m.Detection {
		a.printf("schema\tchanges are detected, and a new base follows each: the role is not a superuser\n")
	}
	a.printf("covered\tany time from %s to %s, position %s\n", archive.Since().Format(time.RFC3339Nano), last.Format(time.RFC3339Nano), to)
	for _, b := range archive.Bases {
		a.printf("base\t%s, %s, %s bytes (%s)\n", b.Position, b.At.Format(time.RFC3339), number(b.Bytes()), b.Reason)
	}
	var bytes, text int64
	transactions := 0
	for _, s := range archive.Segments {
		bytes, text, transactions = bytes+s.File.Bytes, text+s.Text, transactions+s.Transactions
	}
	a.printf("segments\t%d sealed, %s, %s bytes (%s before compression)\n", len(archive.Segments), plural(int64(transactions), "transaction"), number(bytes), number(text))
	for _, g := range archive.Gaps {
		a.printf("gap\tfrom %s, %s, to the next base: %s\n", g.From, g.At.Format(time.RFC3339), g.Reason)
	}
	if n := len(archive.Proofs); n == 0 {
		a.printf("proof\tnone: daymill archive prove restores the archive and compares it\n")
	} else if p := archive.Proofs[n-1]; p.Failure != "" {
		a.printf("proof\t%s FAILED: %s\n", p.At.Format(time.RFC3339), p.Failure)
	} else {
		a.printf("proof\t%s, %s and %s equal\n", p.At.Format(time.RFC3339), plural(int64(p.Tables), "relation"), plural(p.Rows, "row"))
	}
}

type archiveVerifyCmd struct{}

// Run compares checksums.
func (c *archiveVerifyCmd) Run(ctx context.Context, a *app) error {
	place, archive, err := a.readArchive(ctx)
	if err != nil {
		return err
	}
	defer place.Close()
	a.checking(archive.Size())
	files, err := archive.Verify(ctx)
	if err != nil {
		return err
	}
	a.printf("%s compared, all unchanged; segments follow one another, except at %s\n", plural(int64(files), "file"), plural(int64(len(archive.Gaps)), "known gap"))
	return nil
}

type archiveProveCmd struct {
	identityOption

	Scratch string `required:"" env:"DAYMILL_ARCHIVE_SCRATCH" placeholder:"URL" help:"The Postgres on which to create a database, which is dropped at the end: postgres://postgres@127.0.0.1:5433/postgres. The role must be a superuser."`
	Jobs    int    `default:"1" help:"How many parts of the base to restore at a time."`
}

// Run makes a proof.
func (c *archiveProveCmd) Run(ctx context.Context, a *app) error {
	if c.Jobs < 1 {
		return usagef("--jobs is %d: give at least 1", c.Jobs)
	}
	codec, err := c.codec()
	if err != nil {
		return err
	}
	config, done, err := a.archiveAt(ctx, "archive prove")
	if err != nil {
		return err
	}
	defer done()
	manifest, err := chain.ReadManifest(ctx, config.Store)
	if err != nil {
		return err
	}
	if err := manifest.Belongs(ctx, config.Source); err != nil {
		return err
	}
	proved, err := proof.Run(ctx, proof.Config{
		URL: config.URL, Store: config.Store, Codec: codec, Scratch: c.Scratch, Clock: config.Clock, Jobs: c.Jobs, Progress: a.parts, Waiting: a.waiting,
	})
	if err != nil {
		return err
	}
	if proved.Failure != "" {
		return fmt.Errorf("the archive differs from its source at %s: %s", proved.Position, proved.Failure)
	}
	a.printf("%s and %s are equal at %s\n", plural(int64(proved.Tables), "relation"), plural(proved.Rows, "row"), proved.Position)
	return nil
}

// retentionOptions say how long files are kept.
type retentionOptions struct {
	KeepSegments time.Duration `name:"keep-segments" env:"DAYMILL_ARCHIVE_KEEP_SEGMENTS" default:"168h" help:"How far back a restore to any time is possible."`
	KeepBases    time.Duration `name:"keep-bases" env:"DAYMILL_ARCHIVE_KEEP_BASES" default:"720h" help:"How long every base is kept."`
	KeepMonthly  time.Duration `name:"keep-monthly" env:"DAYMILL_ARCHIVE_KEEP_MONTHLY" default:"8760h" help:"How long the first base of each month is kept."`
}

func (o retentionOptions) check() error {
	if min(o.KeepSegments, o.KeepBases, o.KeepMonthly) < 0 {
		return usagef("--keep-segments, --keep-bases or --keep-monthly is negative: give values from 0 on")
	}
	return nil
}

func (o retentionOptions) rule() retention.Rule {
	return retention.Rule{Segments: o.KeepSegments, Bases: o.KeepBases, Monthly: o.KeepMonthly}
}

type archivePruneCmd struct {
	retentionOptions

	DryRun bool `help:"Print what would be deleted, and do nothing."`
}

// Run prunes the archive.
func (c *archivePruneCmd) Run(ctx context.Context, a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	place, err := a.openArchive(ctx)
	if err != nil {
		return err
	}
	defer place.Close()
	var plan retention.Plan
	if c.DryRun {
		archive, err := chain.Read(ctx, place)
		if err != nil {
			return err
		}
		plan = retention.Make(archive, c.rule(), a.clock().Now())
	} else if plan, err = retention.Prune(ctx, place, c.rule(), a.clock().Now()); err != nil {
		return err
	}
	a.printf("%s %s and %s, %s bytes\n", map[bool]string{true: "would delete", false: "deleted"}[c.DryRun],
		plural(int64(len(plan.Segments)), "segment"), plural(int64(len(plan.Bases)), "base"), number(plan.Bytes))
	return nil
}

type archiveRemoveCmd struct{}

// Run removes the archive's objects from the database.
func (c *archiveRemoveCmd) Run(ctx context.Context, a *app) error {
	config, done, err := a.archiveAt(ctx, "archive remove")
	if err != nil {
		return err
	}
	defer done()
	manifest, err := chain.ReadManifest(ctx, config.Store)
	if err != nil && !errors.Is(err, chain.ErrUnfinished) {
		return err
	}
	if err := manifest.Belongs(ctx, config.Source); err != nil {
		return err
	}
	if err := base.Unused(ctx, config.Source, manifest.Slot, config.Clock); err != nil {
		return err
	}
	if err := base.Remove(ctx, config.Source, manifest.Slot); err != nil {
		return err
	}
	a.printf("%s has no slot, publication and event triggers of the archive any more; the archive's files stay\n", manifest.Database)
	return nil
}
