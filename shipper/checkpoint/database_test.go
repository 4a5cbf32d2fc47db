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

// opened opens positions for the length of a test.
func opened(t *testing.T, file string) *Store {
	t.Helper()
	p, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// knows makes positions know so many logs, and returns their keys.
func knows(t *testing.T, p *Store, logs int) (keys []Key) {
	t.Helper()
	for i := range logs {
		k := Key{"prod", "session_2026-11-24_12-00-00_123456_1234", fmt.Sprintf("raysubmit_%016d", i)}
		line(p, k, 1)
		keys = append(keys, k)
	}
	p.SetCluster("prod", ClusterState{Session: keys[0].Session, Seen: true, BackfillSkipped: map[string]time.Time{"old": time.UnixMilli(5).UTC()}})
	return keys
}

// line is a log that the sink has accepted so many lines of.
func line(p *Store, k Key, lines uint64) {
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

// holds fails the test unless the file says what the positions say.
func holds(t *testing.T, file string, p *Store) {
	t.Helper()
	if got, want := inFile(t, file), saved(t, p); got != want {
		t.Errorf("the file says %.2000s\nwant          %.2000s", got, want)
	}
}

func inFile(t *testing.T, file string) string {
	t.Helper()
	s, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return text(t, s)
}

// What a save writes is proportional to what has changed since the one before,
// however many jobs are known.
func TestASaveWritesWhatHasChanged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	p := opened(t, file)
	keys := knows(t, p, 3000)
	save(t, p)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line(p, keys[1500], 2)
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
		t.Errorf("%d of %d pages have changed behind one line", changed, len(after)/pageSize)
	}
	holds(t, file, p)
}

// All that is remembered comes back: what was added, changed and dropped, by one
// save after the other, is what the memory holds.
func TestTheFileSaysWhatTheMemorySays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	p := opened(t, file)
	keys := knows(t, p, 100)
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
		"an id that is longer than a key of the database": func() { line(p, Key{"c\x00d", "s", strings.Repeat("x", 100<<10)}, 3) },
	} {
		change()
		save(t, p)
		if t.Run(name, func(t *testing.T) { holds(t, file, p) }); t.Failed() {
			return
		}
	}
}

func TestOneRaytapPerPositionsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	opened(t, file)
	_, err := Open(file)
	if !errors.Is(err, sink.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("positions.db is in use by another raytap (process %d): stop that process", os.Getpid())) {
		t.Errorf("got %v", err)
	}
	if names := entries(t, filepath.Dir(file)); names != "positions.db" {
		t.Errorf("the directory has %s", names)
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

// A symbolic link is followed, also to a file that is not there yet: what is
// written lies at its end, and the link stays.
func TestALinkToThePositionsIsFollowed(t *testing.T) {
	for _, exists := range []bool{false, true} {
		home, disk := t.TempDir(), t.TempDir()
		target := filepath.Join(disk, "kept.db")
		if exists {
			_ = opened(t, target).Close()
		}
		file := filepath.Join(home, "positions.db")
		for name, to := range map[string]string{file: "second", filepath.Join(home, "second"): target} {
			if err := os.Symlink(to, name); err != nil {
				t.Fatal(err)
			}
		}
		p := opened(t, file)
		knows(t, p, 3)
		save(t, p)
		if err := os.Remove(target); err != nil { // and it is where the link points that it is written again
			t.Fatal(err)
		}
		save(t, p)
		holds(t, target, p)
		if info, err := os.Lstat(file); err != nil || info.Mode().Type() != os.ModeSymlink {
			t.Errorf("the link: %v, %v", info.Mode(), err)
		}
		if a, b := entries(t, home), entries(t, disk); a != "positions.db second" || b != "kept.db" {
			t.Errorf("beside the link %s, beside the file %s", a, b)
		}
	}
}

// A save for which there is no room changes nothing, and the next one writes what
// it did not.
func TestAFullDiskLeavesThePositionsAsTheyWere(t *testing.T) {
	const limited = "RAYTAP_TEST_LIMITED"
	if os.Getenv(limited) == "" { // the limit is one of a process, and go test's own files are larger
		child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		child.Env = append(os.Environ(), limited+"=1")
		if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	file := filepath.Join(t.TempDir(), "positions.db")
	p := opened(t, file)
	knows(t, p, 3)
	save(t, p)
	for lines, logs := range []int{500, 500, 500} { // first the file cannot grow, then a part of it can be written
		before := inFile(t, file)
		for _, room := range []int64{0, pageSize, 5 * pageSize, 40 * pageSize} {
			limit(t, room)
			for _, k := range knows(t, p, logs) {
				line(p, k, uint64(lines)+7)
			}
			err := p.Save(t.Context(), sink.Watermark{})
			if now := inFile(t, file); err == nil || now != before {
				t.Errorf("room for %d bytes: saved: %v; it says %.500s", room, err, now)
			} else if !strings.Contains(err.Error(), "free some space, or raise the quota or the file size limit") {
				t.Errorf("room for %d bytes: %v", room, err)
			}
			limit(t, math.MaxInt64)
		}
		save(t, p)
		holds(t, file, p)
	}
	_ = p.Close()
	if got := saved(t, opened(t, file)); got != saved(t, p) {
		t.Error("it does not come back")
	}
}

// limit sets the file size limit of this process, which makes writes fail as a
// full disk does.
func limit(t *testing.T, n int64) {
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

// After an error of the disk what is on it is not known: the next save writes a
// new file.
func TestAfterAnErrorOfTheDiskAllIsWrittenToANewFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	p := opened(t, file)
	keys := knows(t, p, 100)
	save(t, p)
	isPending, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	line(p, keys[1], 5)
	if err := p.db.raw.Close(); err != nil { // all that is written fails from here on
		t.Fatal(err)
	}
	if err := p.Save(t.Context(), sink.Watermark{}); err == nil {
		t.Fatal("it was saved")
	}
	save(t, p)
	holds(t, file, p)
	if now, err := os.Stat(file); err != nil || os.SameFile(isPending, now) {
		t.Errorf("it is the same file (%v)", err)
	}
}

// The file can be read while it is written, and what is read is one save's.
func TestPositionsCanBeReadWhileTheyAreWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	p := opened(t, file)
	keys := knows(t, p, 300)
	save(t, p)
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := uint64(2); ; n++ {
			began := time.Now()
			line(p, keys[0], n)
			line(p, keys[299], n)
			if err := p.Save(context.Background(), sink.Watermark{}); err != nil {
				ended <- err
				return
			}
			select {
			case <-stop:
				ended <- nil
				return
			case <-time.After(50 * time.Since(began) / 5): // the writer of an Output rests five times as long
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
			t.Errorf("%d logs, %d and %d lines", len(logs), a, b)
		}
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
