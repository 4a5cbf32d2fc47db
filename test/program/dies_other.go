//go:build !linux

package program

import "syscall"

// dieWithParent is Linux's alone.
func dieWithParent(*syscall.SysProcAttr) {}
