// Package chaos is the fault harness: real worker processes roll up dates on a real Postgres, while writers change events and request rollups
// in every possible way, and a schedule of faults disturbs all of them. Once it is quiet again, the result has to be as if there had been no
// fault.
//
//	make chaos SEEDS=200     seeds 1 to 200, several at a time
//	make chaos SEED=17       that one, with its schedule
//	make chaos-mutants       how many seeds it takes to find broken code
//
// A seed defines a schedule: when each fault happens, and what each writer does in which order. It cannot define how processes and statements
// interleave. docs/faults.md describes the faults, the checks, and the results.
//
// All of it is in tests, except for the command worker: `daymill worker` with shorter waits.
package chaos
