//go:build !linux

package chaos_test

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }
