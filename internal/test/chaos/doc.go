// Package chaos is the fault harness: real worker processes roll dates up on a real Postgres while writers change events,
// ask for rollups by every path there is, and a schedule of faults is done to all of them. Once it is quiet again,
// everything has to be as if there had been no fault.
//
//	make chaos SEEDS=200     seeds 1 to 200, several at a time
//	make chaos SEED=17       that one, with its schedule
//	make chaos-mutants       how many seeds it takes to notice that the code is broken
//
// A seed stands for a schedule: what is done when, and what each writer does one after another. How processes and
// statements interleave is not in it, and cannot be. docs/faults.md says what is done, what is checked, and what it has
// come to.
//
// It is all in tests, except for the command worker: `daymill worker` with shorter waits.
package chaos
