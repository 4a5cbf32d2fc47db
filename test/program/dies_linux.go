package program

import "syscall"

// dieWithParent makes the kernel kill the process when the test process exits, also
// when that is killed and cannot clean up.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
