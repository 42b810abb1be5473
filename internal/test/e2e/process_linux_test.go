package e2e_test

import "syscall"

// attributes let a worker die with the test, should that be killed before it could end the worker.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
