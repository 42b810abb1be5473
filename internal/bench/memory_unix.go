//go:build unix

package main

import (
	"os"
	"runtime"
	"syscall"
)

// peakMemory is the most bytes that a process had in memory. Linux counts in what it was forked from, so this is never
// less than the benchmark itself has had, some twenty megabytes.
func peakMemory(state *os.ProcessState) int64 {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	if runtime.GOOS == "darwin" { // There it is in bytes, elsewhere in kilobytes.
		return usage.Maxrss
	}
	return usage.Maxrss * 1024
}
