package delivery

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"raytap/ray/raytest"
)

const stalled = "\nraytap_sink_stalled_since_timestamp_seconds "

// raytap waits while the disk is full, also after a kill and a restart.
func TestDelivery_FullDisk(t *testing.T) {
	d := deliver(t)
	disk := filepath.Dir(d.file)
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("raytap-test", disk, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("needs permission to mount a file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	job := d.head.Submit("job-1", raytest.JobOptions{})
	p := d.start()
	job.Print(strings.Repeat(strings.Repeat("x", 999)+"\n", 1500))
	p.Until("the disk is full", func() bool {
		return strings.Contains(p.Get("/metrics"), stalled) && strings.Contains(p.Stderr.String(), "no space left on device: free some space")
	})
	p.Kill()
	p = d.start()
	p.Until("the disk is full again", func() bool { return strings.Contains(p.Stderr.String(), "no space left on device") })
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	log := job.Log()
	job.End("SUCCEEDED", 0)
	d.ended(p)
	exact(t, d.records(d.files()...), log, 0)
	p.Until("the sink has recovered", func() bool { return !strings.Contains(p.Get("/metrics"), stalled) })
	if n := strings.Count(p.Stderr.String(), "no space left"); n > 3 {
		t.Errorf("logged %d times:\n%s", n, p.Stderr.String())
	}
}

// raytap waits while it has no permission to write to the directory; at start-up this
// is an error.
func TestDelivery_MissingPermissions(t *testing.T) {
	d := deliver(t)
	d.rotate = "max_size: 1MiB"
	dir := filepath.Dir(d.file)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		d.as = &syscall.Credential{Uid: 65532, Gid: 65532}
		if err := os.Chown(dir, 65532, 65532); err != nil {
			t.Fatal(err)
		}
		openTo(t, dir)
	}
	allow := func(mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	job := d.head.Submit("job-1", raytest.JobOptions{})
	p := d.start()
	p.Until("the file is written", func() bool { return len(d.records(d.file)) > 0 })
	allow(0o555)
	job.Print(strings.Repeat(strings.Repeat("x", 999)+"\n", 1500))
	p.Until("the sink is blocked", func() bool {
		return strings.Contains(p.Get("/metrics"), stalled) && strings.Contains(p.Stderr.String(), "permission denied")
	})
	allow(0o755)
	log := job.Log()
	job.End("SUCCEEDED", 0)
	d.ended(p)
	exact(t, d.records(d.files()...), log, 0)
	p.Signal(syscall.SIGTERM)
	if code := p.Code(); code != 0 {
		t.Errorf("exit code %d; stderr:\n%s", code, p.Stderr.String())
	}
	if err := os.Chmod(d.file, 0o444); err != nil {
		t.Fatal(err)
	}
	d.refused("raytap.jsonl: permission denied")
	if err := os.Chmod(d.file, 0o640); err != nil {
		t.Fatal(err)
	}
	allow(0o555)
	d.start() // it needs no other permission
}
