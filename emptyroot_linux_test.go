package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"raytap/ray/raytest"
	"raytap/test/program"
)

// The image is built FROM scratch. This test runs the binary under the same conditions:
// a root directory that contains nothing else, and a user without a name.
func TestRun_EmptyRoot(t *testing.T) {
	head := raytest.New(t)
	head.Submit("job-1", raytest.JobOptions{}).Print("hello\n")

	root := t.TempDir()
	for dir := root; dir != "/"; dir = filepath.Dir(dir) { // other users must be able to enter
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o001 == 0 {
			if err := os.Chmod(dir, info.Mode().Perm()|0o011); err != nil {
				t.Fatal(err)
			}
		}
	}
	copyFile(t, program.Binary(t), filepath.Join(root, "raytap"))
	if err := os.Chmod(root, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(root, 0o755) })

	p := program.NewCommand(t, nil)
	p.Cmd.Path, p.Cmd.Dir = "/raytap", "/"
	p.Cmd.Env = []string{"RAY_API_SERVER_ADDRESS=" + head.URL()}
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	if os.Getuid() == 0 {
		p.Cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65532, Gid: 65532}
	} else {
		if _, err := os.Stat("/proc/self/ns/user"); err != nil {
			t.Skip("needs root, or user namespaces")
		}
		p.Cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		p.Cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 65532, HostID: os.Getuid(), Size: 1}}
		p.Cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 65532, HostID: os.Getgid(), Size: 1}}
	}
	p.Serve()
	p.Until("the cluster is in /metrics", func() bool { return strings.Contains(p.Get("/metrics"), `raytap_up{ray_cluster="default"} 1`) })
	p.Until("the line is shipped", func() bool { return strings.Contains(p.Stdout.String(), `"message":"hello"`) })
	p.Signal(syscall.SIGTERM)
	if code := p.Code(); code != 0 {
		t.Errorf("exit code %d; stderr:\n%s", code, p.Stderr.String())
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 1 {
		t.Errorf("the root directory has %v, %v", entries, err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(dst, src); err != nil {
		t.Fatal(err)
	}
	if err := dst.Close(); err != nil {
		t.Fatal(err)
	}
}
