//go:build unix

package main

import (
	"os"
	"runtime"
	"syscall"
)

// peakMemory returns the peak memory of a process in bytes, 0 if that is not known. On Linux it includes the process that it was forked from,
// so it is never less than this process's memory.
func peakMemory(state *os.ProcessState) int64 {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	var own syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &own) == nil && usage.Maxrss <= own.Maxrss {
		return 0
	}
	if runtime.GOOS == "darwin" { // In bytes there, in kilobytes elsewhere.
		return usage.Maxrss
	}
	return usage.Maxrss * 1024
}
