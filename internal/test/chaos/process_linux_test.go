package chaos_test

import "syscall"

// attributes returns attributes that end the worker if the test is killed.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
