package pgserver

import (
	"os"
	"regexp"
	"strconv"
	"syscall"
)

// shared is where Linux has a file system in memory.
const shared = "/dev/shm"

// room is how many bytes a file system in memory, and the memory itself, must have left for a cluster.
const room = 8 << 30

// memoryDir returns a directory whose files stay in memory, or "" if there is none, or less room than that: a container's often holds 64 MB.
func memoryDir(room uint64) string {
	var disk syscall.Statfs_t
	if syscall.Statfs(shared, &disk) != nil || disk.Bavail*uint64(disk.Bsize) < room || availableMemory() < room { //nolint:gosec // A block has a size.
		return ""
	}
	return shared
}

// availableMemory returns how many bytes of memory new processes can use, or 0 if the system does not say.
func availableMemory() uint64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	match := regexp.MustCompile(`(?m)^MemAvailable:\s*(\d+) kB`).FindSubmatch(text)
	if match == nil {
		return 0
	}
	kB, err := strconv.ParseUint(string(match[1]), 10, 54)
	if err != nil {
		return 0
	}
	return kB << 10
}
