package main

import "runtime/debug"

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version = ""

type versionCmd struct{}

// Run prints the version, and the revision that it was built from if Go knows it.
func (versionCmd) Run(a *app) error { //nolint:unparam // Verbs return errors.
	a.printf("daymill %s\n", versionString())
	return nil
}

func versionString() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	if info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
