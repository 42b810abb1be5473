//go:build unix

package main

import (
	"os"
	"runtime"
	"syscall"
)

// peakMemory is the most bytes that a process had in memory, 0 if that is not known: Linux counts in what it was forked
// from, so a process that had less than this one is not told from it.
func peakMemory(state *os.ProcessState) int64 {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	var own syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &own) == nil && usage.Maxrss <= own.Maxrss {
		return 0
	}
	if runtime.GOOS == "darwin" { // There it is in bytes, elsewhere in kilobytes.
		return usage.Maxrss
	}
	return usage.Maxrss * 1024
}
