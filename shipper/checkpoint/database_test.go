package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"raytap/ray"
	"raytap/shipper/sink"
)

// openStore opens a store until the end of the test.
func openStore(t *testing.T, file string) *Store {
	t.Helper()
	p, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// fill adds logs to a store, and returns their keys.
func fill(t *testing.T, p *Store, logs int) (keys []Key) {
	t.Helper()
	for i := range logs {
		k := Key{"prod", "session_2026-11-24_12-00-00_123456_1234", fmt.Sprintf("raysubmit_%016d", i)}
		acceptLines(p, k, 1)
		keys = append(keys, k)
	}
	p.SetCluster("prod", ClusterState{Session: keys[0].Session, Seen: true, BackfillSkipped: map[string]time.Time{"old": time.UnixMilli(5).UTC()}})
	return keys
}

// acceptLines makes the store accept a state of a log with so many lines.
func acceptLines(p *Store, k Key, lines uint64) {
	l := p.Log(k, ray.Job{Type: ray.JobSubmission, SubmissionID: k.SubmissionID, Status: ray.JobRunning, Start: time.UnixMilli(1).UTC(), DriverNodeID: strings.Repeat("0af1", 14)})
	next := l.State
	next.Pos.Lines, next.Begun, next.Run.SubmissionID, next.Run.Type = lines, true, k.SubmissionID, ray.JobSubmission
	p.Accept(l.Entry, next)
}

func save(t *testing.T, p *Store) {
	t.Helper()
	if err := p.Save(t.Context(), sink.Watermark{}); err != nil {
		t.Fatal(err)
	}
}

// checkFile fails the test unless the file has the content of the store.
func checkFile(t *testing.T, file string, p *Store) {
	t.Helper()
	if got, want := fileContent(t, file), content(t, p); got != want {
		t.Errorf("the file has %.2000s\nwant         %.2000s", got, want)
	}
}

func fileContent(t *testing.T, file string) string {
	t.Helper()
	s, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return text(t, s)
}

// A save writes in proportion to what has changed since the save before, not to the number
// of jobs.
func TestDatabase_SaveWritesChangesOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	p := openStore(t, file)
	keys := fill(t, p, 3000)
	save(t, p)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	acceptLines(p, keys[1500], 2)
	save(t, p)
	after, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for at := 0; at < len(after); at += pageSize {
		if at >= len(before) || !bytes.Equal(before[at:at+pageSize], after[at:at+pageSize]) {
			changed++
		}
	}
	if changed == 0 || changed > 8 {
		t.Errorf("%d of %d pages have changed after one line", changed, len(after)/pageSize)
	}
	checkFile(t, file, p)
}

// After each of several saves of additions, changes and removals, the file has the content
// of the memory.
func TestStore_FileEqualsMemory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	p := openStore(t, file)
	keys := fill(t, p, 100)
	save(t, p)
	now := time.Unix(1764000000, 0).UTC()
	for name, change := range map[string]func(){
		"the backfill": func() {
			p.SetCluster("prod", ClusterState{Session: keys[0].Session, Seen: true, BackfillSkipped: map[string]time.Time{"b": now}})
		},
		"slots":          func() { p.SetSlots("s", map[string]int{"k": 2}); p.SetSlots("t", map[string]int{"k": 1}) },
		"slots freed":    func() { p.SetSlots("s", nil) },
		"a job left":     func() { p.MarkUnlisted(keys[3], now) },
		"a name changes": func() { p.Configure([]string{"new"}, now); _ = p.Claim("new", keys[0].Session) },
		"jobs expire": func() {
			for k := range p.logs {
				p.MarkUnlisted(k, now)
				p.logs[k].Done = true
			}
			p.Expire(now.Add(2 * Retention))
		},
		"an id that is longer than a key of the database": func() { acceptLines(p, Key{"c\x00d", "s", strings.Repeat("x", 100<<10)}, 3) },
	} {
		change()
		save(t, p)
		if t.Run(name, func(t *testing.T) { checkFile(t, file, p) }); t.Failed() {
			return
		}
	}
}

func TestDatabase_Locked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	openStore(t, file)
	_, err := Open(file)
	if !errors.Is(err, sink.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("positions.db is in use by another raytap (process %d): stop that process", os.Getpid())) {
		t.Errorf("Open of a locked file: %v", err)
	}
	if names := entries(t, filepath.Dir(file)); names != "positions.db" {
		t.Errorf("the directory has %s, want only the file", names)
	}
}

func entries(t *testing.T, dir string) string {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// A symbolic link is followed, also to a file that does not exist yet. The link stays.
func TestDatabase_SymbolicLink(t *testing.T) {
	for _, exists := range []bool{false, true} {
		home, disk := t.TempDir(), t.TempDir()
		target := filepath.Join(disk, "kept.db")
		if exists {
			_ = openStore(t, target).Close()
		}
		file := filepath.Join(home, "positions.db")
		for name, to := range map[string]string{file: "second", filepath.Join(home, "second"): target} {
			if err := os.Symlink(to, name); err != nil {
				t.Fatal(err)
			}
		}
		p := openStore(t, file)
		fill(t, p, 3)
		save(t, p)
		if err := os.Remove(target); err != nil { // it is written again at the link's target
			t.Fatal(err)
		}
		save(t, p)
		checkFile(t, target, p)
		if info, err := os.Lstat(file); err != nil || info.Mode().Type() != os.ModeSymlink {
			t.Errorf("the link: %v, %v", info.Mode(), err)
		}
		if a, b := entries(t, home), entries(t, disk); a != "positions.db second" || b != "kept.db" {
			t.Errorf("the link's directory has %s, the file's has %s", a, b)
		}
	}
}

// A save on a full disk changes nothing. The next one writes what it did not.
func TestStore_DiskFull(t *testing.T) {
	const limited = "RAYTAP_TEST_LIMITED"
	if os.Getenv(limited) == "" { // the limit applies to the process, and files of go test are larger
		child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		child.Env = append(os.Environ(), limited+"=1")
		if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	file := filepath.Join(t.TempDir(), "positions.db")
	p := openStore(t, file)
	fill(t, p, 3)
	save(t, p)
	for lines, logs := range []int{500, 500, 500} { // first the file cannot grow, then a part of it can be written
		before := fileContent(t, file)
		for _, space := range []int64{0, pageSize, 5 * pageSize, 40 * pageSize} {
			setSizeLimit(t, space)
			for _, k := range fill(t, p, logs) {
				acceptLines(p, k, uint64(lines)+7)
			}
			err := p.Save(t.Context(), sink.Watermark{})
			if now := fileContent(t, file); err == nil || now != before {
				t.Errorf("space for %d bytes: Save: %v; the file has %.500s", space, err, now)
			} else if !strings.Contains(err.Error(), "free some space, or raise the quota or the file size limit") {
				t.Errorf("space for %d bytes: Save: %v, want a hint", space, err)
			}
			setSizeLimit(t, math.MaxInt64)
		}
		save(t, p)
		checkFile(t, file, p)
	}
	_ = p.Close()
	if got := content(t, openStore(t, file)); got != content(t, p) {
		t.Error("the reopened file has other content than the store")
	}
}

// setSizeLimit sets the file size limit of this process, which makes writes fail as a full
// disk does.
func setSizeLimit(t *testing.T, n int64) {
	t.Helper()
	var isPending unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &isPending); err != nil {
		t.Fatal(err)
	}
	l := isPending
	l.Cur = min(uint64(n), isPending.Max)
	if n == math.MaxInt64 {
		l.Cur = isPending.Max
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &l); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: isPending.Max, Max: isPending.Max}) })
}

// After a disk error the content of the file is not known: the next save writes a new file.
func TestStore_DiskError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	p := openStore(t, file)
	keys := fill(t, p, 100)
	save(t, p)
	isPending, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	acceptLines(p, keys[1], 5)
	if err := p.db.raw.Close(); err != nil { // all writes fail from here on
		t.Fatal(err)
	}
	if err := p.Save(t.Context(), sink.Watermark{}); err == nil {
		t.Fatal("Save succeeded")
	}
	save(t, p)
	checkFile(t, file, p)
	if now, err := os.Stat(file); err != nil || os.SameFile(isPending, now) {
		t.Errorf("the save after the error wrote to the same file (%v)", err)
	}
}

// The file can be read while it is written, and a read returns the content of one save.
func TestStore_ReadDuringSaves(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	p := openStore(t, file)
	keys := fill(t, p, 300)
	save(t, p)
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := uint64(2); ; n++ {
			began := time.Now()
			acceptLines(p, keys[0], n)
			acceptLines(p, keys[299], n)
			if err := p.Save(context.Background(), sink.Watermark{}); err != nil {
				ended <- err
				return
			}
			select {
			case <-stop:
				ended <- nil
				return
			case <-time.After(50 * time.Since(began) / 5): // the pause of a Writer is five times as long
			}
		}
	}()
	for range 100 {
		s, err := Read(file)
		if err != nil {
			t.Error(err)
			break
		}
		logs := s.Clusters["prod"].Logs
		if a, b := logs[0].Position.Lines, logs[299].Position.Lines; len(logs) != 300 || a != b {
			t.Errorf("%d logs, with %d and %d lines: want 300 with equal numbers", len(logs), a, b)
		}
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
