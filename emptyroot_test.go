//go:build linux

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

// The image is made FROM scratch. Here the binary gets the same: a root folder
// that holds nothing else, and a user that no list knows.
func TestTheBinaryRunsInAnEmptyRoot(t *testing.T) {
	head := raytest.New(t)
	head.Submit("job-1", raytest.JobOptions{}).Print("hello\n")

	root := t.TempDir()
	for dir := root; dir != "/"; dir = filepath.Dir(dir) { // other users must get in
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

	p := command(t, nil)
	p.cmd.Path, p.cmd.Dir = "/raytap", "/"
	p.cmd.Env = []string{"RAY_API_SERVER_ADDRESS=" + head.URL()}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	if os.Getuid() == 0 {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65532, Gid: 65532}
	} else {
		if _, err := os.Stat("/proc/self/ns/user"); err != nil {
			t.Skip("needs root, or user namespaces")
		}
		p.cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		p.cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 65532, HostID: os.Getuid(), Size: 1}}
		p.cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 65532, HostID: os.Getgid(), Size: 1}}
	}
	p.serving()
	p.until("the cluster is on the page", func() bool { return strings.Contains(p.page("/metrics"), `raytap_up{ray_cluster="default"} 1`) })
	p.until("the line is shipped", func() bool { return strings.Contains(p.stdout.String(), `"message":"hello"`) })
	p.Signal(syscall.SIGTERM)
	if code := p.code(); code != 0 {
		t.Errorf("exit code %d; stderr:\n%s", code, p.stderr.String())
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 1 {
		t.Errorf("the root holds %v, %v", entries, err)
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
