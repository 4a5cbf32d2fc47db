//go:build e2e && linux

package systemd

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"raytap/test/program"
)

const architecture = runtime.GOARCH

// timeout is long enough for a busy machine.
const timeout = 90 * time.Second

// boot is a script that runs systemd-nspawn on a copy of the Debian root in memory. All
// its mounts end with it. systemd-nspawn and its libraries are those of the Debian root.
// It gets a unified cgroup hierarchy, even if the host uses cgroup v1.
const boot = `set -e
debian=$1 dir=$2 group=$3
mount -t tmpfs -o mode=755 raytap-test "$dir"
mkdir "$dir/upper" "$dir/work" "$dir/root"
mount -t overlay -o "lowerdir=$debian,upperdir=$dir/upper,workdir=$dir/work" raytap-test "$dir/root"
mount -t tmpfs -o mode=755 raytap-test /run
umount -R /sys/fs/cgroup
mount -t cgroup2 raytap-test /sys/fs/cgroup
echo 0 >"/sys/fs/cgroup/$group/cgroup.procs"
libraries=$(dirname "$(find "$debian/usr/lib" -name 'libc.so.6' | head -n 1)")
loader=$(find "$debian/lib64/" "$debian/lib/" -name 'ld-linux-*.so.*' | head -n 1)
exec "$loader" --library-path "$libraries:$libraries/systemd" "$debian/usr/bin/systemd-nspawn" \
	--boot --quiet --directory="$dir/root" --machine=raytap --private-network --keep-unit --register=no \
	--console=pipe --resolv-conf=off --timezone=off --link-journal=no
`

// machine is a running Debian. Call its methods from the test's goroutine.
type machine struct {
	t      *testing.T
	p      *program.Process // of systemd-nspawn
	leader string           // PID of its systemd on the host
}

// newMachine boots a machine, which ends with the test.
func newMachine(t *testing.T) *machine {
	t.Helper()
	program.NeedRoot(t, whyRoot)
	debian := filepath.Dir(filepath.Dir(filepath.Dir(program.Tool(t, "debian/usr/bin/systemd-nspawn"))))
	group := newGroup(t)
	// In its own PID namespace, no process outlives the first one.
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", boot, "boot", debian, t.TempDir(), filepath.Base(group))
	m := &machine{t: t, p: program.Start(t, cmd)}
	m.p.Until(timeout, "the machine's systemd is running", func() bool {
		b, _ := os.ReadFile(filepath.Join(group, "payload/init.scope/cgroup.procs"))
		m.leader, _, _ = strings.Cut(string(b), "\n")
		return m.leader != ""
	})
	m.p.Until(timeout, "the machine is up", func() bool {
		out, _ := m.try("systemctl", "is-system-running")
		return out == "running\n" || out == "degraded\n"
	})
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := m.try("journalctl", "--no-pager", "-n", "60", "-o", "short-monotonic")
			t.Logf("the machine's journal:\n%s", out)
		}
	})
	return m
}

// newGroup creates a cgroup for the machine in the unified hierarchy. It is removed with
// the test.
func newGroup(t *testing.T) string {
	t.Helper()
	var hierarchy string
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[2] == "cgroup2" {
			hierarchy = f[1]
		}
	}
	if hierarchy == "" {
		t.Fatal("this machine has no unified cgroup hierarchy (cgroup2)")
	}
	group, err := os.MkdirTemp(hierarchy, "raytap-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(filepath.Join(group, "cgroup.kill"), []byte("1"), 0o600); err != nil {
			t.Error(err)
		}
		deadline := time.Now().Add(timeout)
		for remove(group) != nil {
			if time.Now().After(deadline) {
				t.Errorf("the cgroup %s cannot be removed", group)
				return
			}
			<-time.After(20 * time.Millisecond)
		}
	})
	return group
}

// remove removes a cgroup and its children.
func remove(group string) error {
	entries, err := os.ReadDir(group)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			_ = remove(filepath.Join(group, e.Name())) // the parent's removal reports the error
		}
	}
	return os.Remove(group)
}

// command returns a command in the machine, as root. It is not started.
func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--target", m.leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
		"--root", "--", "env", "-C", "/"}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	return cmd
}

// try runs a command in the machine and returns its output.
func (m *machine) try(args ...string) (string, error) {
	out, err := m.command(args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// must is try, but an error ends the test.
func (m *machine) must(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

// sh runs a shell command in the machine. An error ends the test.
func (m *machine) sh(line string) string { m.t.Helper(); return m.must("sh", "-ec", line) }

// put copies a file of the host to a directory of the machine, and returns its name there.
func (m *machine) put(file, dir string) string {
	m.t.Helper()
	f, err := os.Open(file)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	name := filepath.Join(dir, filepath.Base(file))
	m.write(name, f)
	return name
}

// write writes a file in the machine, and creates its directory.
func (m *machine) write(name string, content io.Reader) {
	m.t.Helper()
	cmd := m.command("sh", "-ec", `mkdir -p "$(dirname "$1")" && cat >"$1"`, "sh", name)
	cmd.Stdin = content
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("write %s: %v\n%s", name, err, out)
	}
}

// until polls for a condition while the machine runs.
func (m *machine) until(what string, ok func() bool) { m.t.Helper(); m.p.Until(timeout, what, ok) }

// inside calls f on a thread in the machine's network namespace: f listens and dials
// there.
func (m *machine) inside(f func()) {
	// The thread must not end: the processes that it started would be killed with it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	open := func(path string) *os.File {
		ns, err := os.Open(path)
		if err != nil {
			panic(err)
		}
		return ns
	}
	home, there := open("/proc/thread-self/ns/net"), open("/proc/"+m.leader+"/ns/net")
	defer home.Close()
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), syscall.CLONE_NEWNET); err != nil {
		panic(err)
	}
	defer func() {
		if err := unix.Setns(int(home.Fd()), syscall.CLONE_NEWNET); err != nil {
			panic(err) // other tests would run in the namespace
		}
	}()
	f()
}

// get returns the body of a response of the machine, "" after an error.
func (m *machine) get(url string) string {
	client := &http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
			m.inside(func() { c, err = (&net.Dialer{}).DialContext(ctx, network, address) })
			return c, err
		},
	}}
	return program.GetBy(client, url)
}
