// Package memory returns how much memory the process may use: the limit of its cgroup, GOMEMLIMIT, or the memory of the machine,
// whichever is lowest.
package memory

import (
	"math"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// ratio is the part of a cgroup's limit that Go's heap may use: threads, stacks and the binary need the rest.
const ratio = 0.9

// Limit returns the limit in bytes; 0 if it is unknown.
func Limit() uint64 {
	limit := uint64(math.MaxUint64)
	for _, provider := range []memlimit.Provider{memlimit.FromCgroup, memlimit.FromSystem} {
		if bytes, err := provider(); err == nil && bytes > 0 {
			limit = min(limit, bytes)
		}
	}
	if soft := debug.SetMemoryLimit(-1); soft > 0 && soft < math.MaxInt64 {
		limit = min(limit, uint64(soft))
	}
	if limit == math.MaxUint64 {
		return 0
	}
	return limit
}

// Heed makes Go's garbage collector respect the cgroup's limit, unless GOMEMLIMIT is set or there is no limit.
func Heed() {
	_, _ = memlimit.Set(memlimit.WithRatio(ratio), memlimit.WithProvider(memlimit.FromCgroup))
}
