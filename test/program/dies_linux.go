package program

import "syscall"

// dieWithParent has the kernel kill the process with the tests, also where these
// are killed and clean nothing up.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
