// Package memory says how much memory the process may have: what its cgroup allows, what GOMEMLIMIT says, or what the machine
// has, whichever is least.
package memory

import (
	"math"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// ratio is the part of a cgroup's limit that Go's heap may take: threads, stacks and the binary need the rest.
const ratio = 0.9

// Limit returns the limit in bytes, 0 where nothing says.
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

// Heed makes Go's garbage collector keep to the cgroup's limit, unless GOMEMLIMIT says otherwise or there is none.
func Heed() {
	_, _ = memlimit.Set(memlimit.WithRatio(ratio), memlimit.WithProvider(memlimit.FromCgroup))
}
