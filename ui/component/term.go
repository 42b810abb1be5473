package component

import "slices"

// Term is a word that the pages explain.
type Term struct {
	Name  string // part of the address on the page of words
	Word  string // as the pages show it
	Means string
}

// States returns the states of dates with what each means and what ends it, as in docs/states.md.
func States() []Term {
	return []Term{
		{Name: "complete", Word: StateWord("complete"), Means: "Its metrics equal its events as of the last run's scan. To count later events, request the date again."},
		{Name: "running", Word: StateWord("running"), Means: "A run is in progress. If its worker dies, another worker resumes it within half a minute."},
		{Name: "requested", Word: StateWord("requested"), Means: "The date was requested, and no run has started since. The next free worker takes it."},
		{Name: "retrying", Word: StateWord("retrying"), Means: "The last run failed. Daymill retries it automatically, after longer and longer pauses. Another request brings the next attempt forward."},
		{Name: "failed", Word: StateWord("failed"), Means: "All attempts failed. The date stays failed until somebody, or the daily job, requests it again. Fix the cause first: see the last run's error."},
		{Name: "cancelled", Word: StateWord("cancelled"), Means: "Somebody cancelled or deleted its job. The date stays cancelled until somebody, or the daily job, requests it again."},
		{Name: "interrupted", Word: StateWord("interrupted"), Means: "The last run was stopped or went silent, and there is no open request for the date. Request it again to have it rolled up."},
		{Name: "waiting", Word: StateWord("waiting"), Means: "The date was requested and is not due yet: the day is not over, or the request waits for a later time."},
		{Name: "stale", Word: StateWord("stale"), Means: "It was complete, and then a verification found that its metrics differ from its events. A repair requests it, and the next run fixes its metrics."},
		{Name: "protected", Word: StateWord("protected"), Means: "Its events no longer exist, and the last run kept its metrics. A request for this date alone deletes them, unless the date is older than the retention; requests for many dates skip it."},
		{Name: "missing", Word: StateWord("missing"), Means: "It has events, and nobody has requested it. The daily job will. Request it to have it sooner."},
		{Name: "no_events", Word: StateWord("no_events"), Means: "It has no events, so there is nothing to roll up."},
		{Name: "today", Word: StateWord("today"), Means: "It is not over yet. The daily job rolls it up once it is."},
		{Name: "future", Word: StateWord("future"), Means: "It has not begun. Nobody can request it before it does, and the daily job rolls it up once it is over."},
		{Name: "unknown", Word: StateWord("unknown"), Means: "Nobody has requested it. Daymill is checking whether it has events."},
		{Name: "planned", Word: StateWord("planned"), Means: "A backfill will request it when its turn comes."},
	}
}

// Words returns the other words that the pages explain.
func Words() []Term {
	return []Term{
		{Name: "event", Word: "event", Means: "A row of the source: an entity, a type such as view or click, and the instant at which it happened."},
		{Name: "entity", Word: "entity", Means: "What is counted: a product, a post, a user."},
		{Name: "date", Word: "date", Means: "A calendar day in the reporting zone. In many zones, two days a year have 23 or 25 hours."},
		{Name: "request", Word: "request", Means: "Asks for a rollup of a date that counts everything committed so far. Several requests of a date are satisfied by one run."},
		{Name: "run", Word: "run", Means: "Rolls up one date, once: it reads the date's events, writes the metrics that differ, and records its figures."},
		{Name: "slice", Word: "slice", Means: "A span of time within a date that one short statement reads. Slices become shorter if the statement takes too long."},
		{Name: "batch", Word: "batch", Means: "A group of entities whose metrics one short transaction writes. A run that is killed repeats one batch at most."},
		{Name: "pass", Word: "pass", Means: "One reading of a date for a range of entities. A date with more entities than fit into memory takes several passes."},
		{Name: "pace", Word: "pace", Means: "How long a run pauses after a statement, as a multiple of how long the statement took. It leaves the database to the application. A governor makes it longer while others use the database."},
		{Name: "attempt", Word: "attempt", Means: "One try of a job. After the last attempt, the date has failed."},
		{Name: "backfill", Word: "backfill", Means: "A range of dates that are rolled up one after another."},
		{Name: "in_flight", Word: "in flight", Means: "How many dates of a backfill are requested or running at the same time, over all workers together."},
		{Name: "drifted", Word: "drifted", Means: "A verification has counted the date's events again, and the metrics of some entities do not match them."},
		{Name: "changed", Word: "changed", Means: "The date was rolled up or requested during the verification, so the verification says nothing about it."},
		{Name: "exact", Word: "exact", Means: "A verification has counted the date's events again, and every entity's metrics match them."},
		{Name: "lookback", Word: "lookback", Means: "How many days before yesterday the daily job requests again, for events that arrive late."},
		{Name: "ledger", Word: "ledger", Means: "The permanent record of dates, requests, runs and backfills."},
		{Name: "due", Word: "due", Means: "A request is due when its date is over, or later if it asks for that. From then on a worker may take it."},
		{Name: "median", Word: "median", Means: "Half of the values are at most this: half of the runs took no longer."},
		{Name: "growth", Word: "growth", Means: "By how much a count differs from that of as many dates a period earlier."},
	}
}

// CaptureWords returns the words of capture and of views.
func CaptureWords() []Term {
	return []Term{
		{Name: "stream", Word: "stream", Means: "What Daymill reads from one database: the changes of its captured tables, in the order of their commits."},
		{Name: "log", Word: "log", Means: "The changes of all streams, stored in Daymill's own database until every consumer has them."},
		{Name: "position", Word: "position", Means: "The number of a change in the log. A later change has a higher one."},
		{Name: "key", Word: "key", Means: "The values of a row's primary key. The changes of one key are delivered in order."},
		{Name: "gap", Word: "gap", Means: "Changes that were not captured. Reading the tables again repairs it."},
		{Name: "snapshot", Word: "snapshot", Means: "The rows that a table has, read in chunks while its changes continue to arrive."},
		{Name: "consumer", Word: "consumer", Means: "Who receives changes: a sink such as a webhook or another database, a view, or a program that polls."},
		{Name: "shard", Word: "shard", Means: "A part of a consumer's keys. The shards of a consumer are delivered side by side."},
		{Name: "lag", Word: "lag", Means: "How long a change takes from its commit until it reaches the log, or a consumer. While a consumer or a view is behind, the age of the oldest change that it has not looked at yet."},
		{Name: "behind", Word: "behind", Means: "How many changes of a database a consumer or a view has not looked at yet, including those of tables that it does not read. With several databases, the largest of their numbers."},
		{Name: "dead_letter", Word: "dead letter", Means: "A change that a consumer refused. Later changes of its key wait behind it; those of other keys are delivered."},
		{Name: "rewind", Word: "rewind", Means: "Sets a consumer to another position: to an earlier one to deliver changes again, or to a later one to skip some."},
		{Name: "view", Word: "view", Means: "A table that Daymill keeps equal to a SELECT over captured tables."},
		{Name: "refresh", Word: "refresh", Means: "Computes some rows of a view again, or all of them."},
		{Name: "rebuild", Word: "rebuild", Means: "Fills a new table for a view while the old one serves, and then puts it in its place."},
		{Name: "drift", Word: "drift", Means: "The columns of a view's tables have changed since the view was applied. You decide whether the view follows."},
	}
}

// Means returns the meaning of a state or a word, or an empty text if it is unknown.
func Means(name string) string {
	for _, all := range [][]Term{States(), Words(), CaptureWords()} {
		if i := slices.IndexFunc(all, func(t Term) bool { return t.Name == name }); i >= 0 {
			return all[i].Means
		}
	}
	return ""
}
