//go:build e2e && linux

// Package kubernetes installs raytap on a real Kubernetes of one node, with the
// commands that docs/kubernetes.md prints: API server, controllers, scheduler,
// kubelet, proxy, containerd and runc. All of it runs in namespaces of its own.
package kubernetes

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

// inside names the variable that tells the tests that they are in namespaces of
// their own: its value is the folder for all that they write.
const inside = "RAYTAP_KUBERNETES_INSIDE"

// clean waits for the end of the tests, however they ended, and removes what the
// kernel keeps when the last process of a namespace is gone: the folder $0, and
// the control groups that have its name.
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
echo "the tests on Kubernetes left $left behind" >&2
exit 1
`

func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		os.Exit(enter(m))
	}
	os.Exit(outside())
}

// outside runs the tests as the first process of namespaces of mounts, processes
// and the network. When that ends, the kernel ends all that it started.
func outside() int {
	if os.Geteuid() != 0 {
		fmt.Println("the tests on Kubernetes are skipped: a node needs root")
		if os.Getenv("CI") == "true" {
			return 1
		}
		return 0
	}
	runtime.LockOSThread() // Pdeathsig is about the thread that forked
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
		err = again(dir)
		err = first(err, finish(cleaner, alive))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

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

// again builds what the images are made of, while there is a network, and runs
// this binary inside.
func again(dir string) error {
	for file, pkg := range map[string]string{"raytap": "raytap", "pause": "raytap/test/kubernetes/pause"} {
		if err := program.Build(filepath.Join(dir, file), pkg); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"="+dir, "TMPDIR="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	return cmd.Run()
}
