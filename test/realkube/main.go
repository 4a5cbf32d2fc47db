//go:build linux

package realkube

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"raytap/test/program"
)

// workDirEnv is an environment variable that is set if the tests run in their own
// namespaces. Its value is the directory for all files that they write.
const workDirEnv = "RAYTAP_KUBERNETES_WORK_DIR"

// clean is a script that waits for the end of the tests and removes what the kernel keeps
// after the last process of a namespace: the directory $0, and the cgroups with its name.
const clean = `
read -r _ || :
name=$(basename "$0")
for i in $(seq 300); do
	left=
	for group in /sys/fs/cgroup/"$name" /sys/fs/cgroup/*/"$name"; do
		[ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || left=$group
	done
	rm -rf "$0" || left=$0
	[ -n "$left" ] || exit 0
	sleep 0.1
done
echo "cannot remove $left" >&2
exit 1
`

// Main runs the tests of a package in namespaces of their own, and returns the exit code
// of the process. The binary of raytap is built before, for Raytap. Without root it runs
// none, which is a failure in continuous integration.
func Main(m *testing.M) int {
	if os.Getenv(workDirEnv) != "" {
		return enter(m)
	}
	return outside()
}

// Raytap returns the path of raytap's binary.
func Raytap() string { return filepath.Join(os.Getenv(workDirEnv), "raytap") }

// outside runs the tests as the first process in new mount, PID and network namespaces.
// When that process exits, the kernel kills all others. outside returns the exit code.
func outside() int {
	if os.Geteuid() != 0 {
		fmt.Println("skipped: a Kubernetes node requires root")
		if os.Getenv("CI") == "true" {
			return 1
		}
		return 0
	}
	runtime.LockOSThread() // Pdeathsig refers to the thread that forked
	dir, err := os.MkdirTemp("", "raytap-kubernetes")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cleaner := exec.Command("sh", "-c", clean, dir)
	cleaner.Stderr = os.Stderr
	cleaner.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	alive, err := cleaner.StdinPipe()
	if err == nil {
		err = cleaner.Start()
	}
	if err == nil {
		err = runInside(dir)
		err = first(err, finish(cleaner, alive))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// finish starts the cleanup and waits for it.
func finish(cleaner *exec.Cmd, alive io.Closer) error {
	return first(alive.Close(), cleaner.Wait())
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// runInside builds the binaries for the images, which needs the network, and runs this
// binary in the namespaces.
func runInside(dir string) error {
	for file, pkg := range map[string]string{"raytap": "raytap", "pause": "raytap/test/realkube/pause"} {
		if err := program.Build(filepath.Join(dir, file), pkg); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), workDirEnv+"="+dir, "TMPDIR="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	return cmd.Run()
}
