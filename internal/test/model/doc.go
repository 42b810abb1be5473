// Package model is the state machine of dates, requests, jobs and runs, small enough to be explored completely: every order of steps of two
// workers, two dates and three changes of events, with a crash, an error or a lost answer at any step. Its test checks that nothing is lost, that
// a date has one writer, and that from every state the machine can reach a state where nothing is left to do and every row is exact.
//
// A step is what one transaction, or one statement that reads events, does in the code. docs/faults.md says what is in
// the model and what is not.
package model
