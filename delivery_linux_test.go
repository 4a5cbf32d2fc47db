package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"raytap/ray/raytest"
)

const stalled = "\nraytap_sink_stalled_since_timestamp_seconds "

// A full disk is waited out, also by the raytap after one that was killed there.
func TestAFullDiskIsBackPressure(t *testing.T) {
	d := deliver(t)
	disk := filepath.Dir(d.file)
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("raytap-test", disk, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("needs the right to mount a file system: %v", err)
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
	p.until("the disk is full", func() bool {
		return strings.Contains(p.page("/metrics"), stalled) && strings.Contains(p.stderr.String(), "no space left on device: free some space")
	})
	p.Kill()
	p = d.start()
	p.until("the disk is full again", func() bool { return strings.Contains(p.stderr.String(), "no space left on device") })
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	log := job.Log()
	job.End("SUCCEEDED", 0)
	d.ended(p)
	exact(t, d.records(d.files()...), log, 0)
	p.until("it stalls no more", func() bool { return !strings.Contains(p.page("/metrics"), stalled) })
	if n := strings.Count(p.stderr.String(), "no space left"); n > 3 {
		t.Errorf("it says so %d times:\n%s", n, p.stderr.String())
	}
}

// A folder that raytap may not write to any more is waited out; at its start it
// is an error.
func TestMissingRightsAreBackPressure(t *testing.T) {
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
	p.until("the file is written", func() bool { return len(d.records(d.file)) > 0 })
	allow(0o555)
	job.Print(strings.Repeat(strings.Repeat("x", 999)+"\n", 1500))
	p.until("it waits for rights", func() bool {
		return strings.Contains(p.page("/metrics"), stalled) && strings.Contains(p.stderr.String(), "permission denied")
	})
	allow(0o755)
	log := job.Log()
	job.End("SUCCEEDED", 0)
	d.ended(p)
	exact(t, d.records(d.files()...), log, 0)
	p.Signal(syscall.SIGTERM)
	if code := p.code(); code != 0 {
		t.Errorf("exit code %d; stderr:\n%s", code, p.stderr.String())
	}
	if err := os.Chmod(d.file, 0o444); err != nil {
		t.Fatal(err)
	}
	d.refused("raytap.jsonl: permission denied")
	if err := os.Chmod(d.file, 0o640); err != nil {
		t.Fatal(err)
	}
	allow(0o555)
	d.start() // all it needs is there
}
