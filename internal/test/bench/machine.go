package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// Machine describes where a benchmark ran.
type Machine struct {
	CPU      string            `json:"cpu"`
	Cores    int               `json:"cores"`
	RAM      string            `json:"ram"`
	OS       string            `json:"os"`
	Load     string            `json:"load"` // the average of the last minute, before it began
	Go       string            `json:"go"`
	Postgres string            `json:"postgres"`
	Settings map[string]string `json:"settings"`
	Command  string            `json:"command"`
	Commit   string            `json:"commit"`
}

// machine returns what it can find out. Other fields stay empty.
func machine(ctx context.Context, b *bench) Machine {
	found := Machine{
		Cores: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(), Postgres: b.server.version,
		Settings: map[string]string{},
		Command:  strings.TrimSpace("go run ./internal/test/bench " + strings.Join(settingArguments(os.Args[1:]), " ")),
	}
	if match := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(file("/proc/cpuinfo")); match != nil {
		found.CPU = string(match[1])
	}
	if match := regexp.MustCompile(`(?m)^MemTotal:\s*(\d+) kB`).FindSubmatch(file("/proc/meminfo")); match != nil {
		if kilobytes, err := strconv.Atoi(string(match[1])); err == nil {
			found.RAM = strconv.Itoa((kilobytes+1<<19)>>20) + " GiB"
		}
	}
	if match := regexp.MustCompile(`(?m)^PRETTY_NAME="?([^"\n]*)`).FindSubmatch(file("/etc/os-release")); match != nil {
		found.OS = string(match[1]) + ", " + found.OS
	}
	found.Load, _, _ = strings.Cut(string(file("/proc/loadavg")), " ")
	if output, err := exec.CommandContext(ctx, "git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		found.Commit = string(bytes.TrimSpace(output))
	}
	for _, name := range []string{"shared_buffers", "work_mem", "fsync", "synchronous_commit", "autovacuum", "max_wal_size", "jit"} {
		var value string
		if b.server.setting(ctx, name, &value) == nil {
			found.Settings[name] = value
		}
	}
	return found
}

// settingArguments returns the arguments that change what is measured, without those for files and paths.
func settingArguments(arguments []string) (kept []string) {
	written := regexp.MustCompile(`^--?(json|markdown|check|write-ratios|database-url|daymill)(=|$)`)
	for i := 0; i < len(arguments); i++ {
		match := written.FindStringSubmatch(arguments[i])
		if match == nil {
			kept = append(kept, arguments[i])
		} else if match[2] == "" {
			i++ // Its value is the next argument.
		}
	}
	return kept
}

func file(path string) []byte {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return content
}
