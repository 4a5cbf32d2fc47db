package checkpoint

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/ray"
	"raytap/shipper/rotation"
	"raytap/shipper/sink"
)

func fileState(i int) *FileState {
	replica := ""
	if i%2 == 1 {
		replica = fmt.Sprintf("replica%d", i)
	}
	return &FileState{
		Name: fmt.Sprintf("worker-%056x-02000000-%d.out", i, i), Directory: "node", Epoch: 1, Lines: uint64(i), Content: 1 << 40, Skipped: 2, LastTime: 1 << 60, Blank: 3, AfterCR: true,
		At:          rotation.Position{After: 1 << 63, Own: 7, Raw: 1 << 33, Head: rotation.Sum{Size: 4096, Hash: 5}, Proof: rotation.Sum{Size: 17, Hash: 1<<64 - 1}},
		Attribution: Attribution{Decided: true, JobID: "02000000", SubmissionID: "raysubmit_1", JobName: "träin", NodeID: "node", ActorName: "A", TaskName: "t", Replica: replica},
	}
}

// reopen saves a store, and returns what its file has.
func reopen(t *testing.T, s *Store) *Store {
	t.Helper()
	before := content(t, s)
	if err := s.Save(t.Context(), sink.Watermark{}); err != nil {
		t.Fatal(err)
	}
	file := s.File()
	s.Close()
	again, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	if after := content(t, again); after != before {
		t.Fatalf("after a restart:\n%s\nbefore:\n%s", after, before)
	}
	return again
}

func openFiles(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "positions.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// What is known of log files survives a restart, and what is forgotten stays forgotten.
func TestFiles_Restart(t *testing.T) {
	s := openFiles(t)
	f := s.Files("c", "s")
	f.Begin([]string{"node"})
	f.Directory("node").AddNode("node")
	f.Directory("node").Decide([]uint64{FileHash("skipped")})
	for i := range 20 {
		s.AcceptFile(f.Entry(fmt.Sprint(i)), fileState(i))
	}
	s.Files("c", "other").Begin([]string{"node"})
	s = reopen(t, s)
	f = s.Files("c", "s")
	if st := f.Entry("7").State(); st == nil || *st != *fileState(7) {
		t.Errorf("got %+v", st)
	}
	d := f.Directory("node")
	if !d.Decided() || !d.IsDone(FileHash("skipped")) || d.IsDone(FileHash("7")) || !slices.Equal(d.Nodes(), []string{"node"}) || !f.IsFirst("node") {
		t.Errorf("the directory is %+v", d)
	}
	if s.Files("c", "other").IsFirst("node") {
		t.Error("a node is first in a later session")
	}
	// Finished files become hashes, until two complete listings lack them.
	for i := range 10 {
		st := fileState(i)
		st.Finished = true
		s.AcceptFile(f.Entry(fmt.Sprint(i)), st)
	}
	s = reopen(t, s)
	f = s.Files("c", "s")
	d = f.Directory("node")
	if d.DoneCount() != 11 || len(f.Entries()) != 10 {
		t.Errorf("%d files are done, %d are not", d.DoneCount(), len(f.Entries()))
	}
	listed := func(h uint64) bool { return h == FileHash("3") }
	gone, absent := d.Absent(listed, nil)
	if len(gone) != 0 || len(absent) != 10 {
		t.Errorf("gone %d, absent %d", len(gone), len(absent))
	}
	gone, _ = d.Absent(listed, absent)
	d.Forget(gone)
	s = reopen(t, s)
	if d = s.Files("c", "s").Directory("node"); d.DoneCount() != 1 {
		t.Errorf("%d files are done", d.DoneCount())
	}
	s.DropFiles("c", "s")
	s.DropFiles("c", "other")
	s = reopen(t, s)
	if got := s.FileSessions("c"); len(got) != 0 {
		t.Errorf("sessions %q", got)
	}
}

// A save writes what has changed: of 20,000 files no more than the one that has.
func TestFiles_SavesWhatChanged(t *testing.T) {
	s := openFiles(t)
	f := s.Files("c", "s")
	for i := range 20_000 {
		s.AcceptFile(f.Entry(fmt.Sprint(i)), fileState(i))
	}
	if err := s.Save(t.Context(), sink.Watermark{}); err != nil {
		t.Fatal(err)
	}
	s.AcceptFile(f.Entry("7"), fileState(8))
	changed, err := s.encode(&s.pending)
	if err != nil || len(changed) != 1 || len(changed[0].value) > 400 {
		t.Errorf("%d values change, %v", len(changed), err)
	}
}

// The positions of workers' logs of a cluster that left the configuration go after Retention,
// like those of driver logs, and with them all that is known of its directories. Of other
// clusters the save writes nothing.
func TestFiles_Expire(t *testing.T) {
	p, err := Open(t.TempDir() + "/positions")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	p.Configure([]string{"stays", "goes"}, now)
	for _, cluster := range []string{"stays", "goes", "only in the sink"} {
		f := p.Files(cluster, "session")
		f.Begin([]string{"node"})
		f.Directory("node").Decide([]uint64{1, 2, 3})
		for i := range 100 {
			p.AcceptFile(f.Entry(fmt.Sprint(i)), fileState(i))
		}
	}
	p.SetCluster("stays", ClusterState{Session: "session", Seen: true})
	p.SetCluster("goes", ClusterState{Session: "session", Seen: true})
	p = reopen(t, p)
	for range 2 { // restarts do not begin it again
		p.Configure([]string{"stays"}, now)
		if n := p.Expire(now); n != 0 || len(p.files) != 3 {
			t.Fatalf("%d expired at once, %d are left", n, len(p.files))
		}
		p = reopen(t, p)
		now = now.Add(Retention * 2 / 3)
	}
	if err := p.Save(t.Context(), sink.Watermark{}); err != nil {
		t.Fatal(err)
	}
	p.Configure([]string{"stays"}, now)
	if n := p.Expire(now); n != 200 || len(p.files) != 1 || p.files[0].cluster != "stays" || len(p.files[0].entries) != 100 {
		t.Errorf("%d expired, left: %d", n, len(p.files))
	}
	changes, err := p.encode(&p.pending)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		if c.value != nil {
			t.Errorf("the save writes %s %x", c.bucket, c.key)
		}
	}
	reopen(t, p)
}

// Records that the sink has after the position are known by the log's name, also those of
// logs of which nothing was saved; of driver logs they are apart.
func TestFiles_Recovered(t *testing.T) {
	s := openFiles(t)
	f := s.Files("c", "s")
	st := fileState(5)
	s.AcceptFile(f.Entry("worker-1.out"), st)
	const head = `{"time":"2026-11-24T12:00:01Z","ray_cluster":"c","session":"s",`
	for _, r := range []string{
		`"log":"worker-1.out","submission_id":"job","job_id":"02000000","epoch":1,"seq":5,"message":"m"}`,
		`"log":"worker-1.out","submission_id":"job","job_id":"02000000","epoch":1,"seq":6,"event":"end","message":"m"}`,
		`"log":"worker-2.out","submission_id":"job","job_id":"02000000","epoch":0,"seq":8,"message":"m"}`,
		`"submission_id":"job","epoch":0,"seq":2,"message":"m"}`,
	} {
		if err := s.Recovered([]byte(head + r)); err != nil {
			t.Fatal(err)
		}
	}
	s = reopen(t, s)
	f = s.Files("c", "s")
	one, two := f.Entry("worker-1.out").Found(), f.Entry("worker-2.out").Found()
	if one.Lines(1) != 6 || one.Lines(0) != 0 || !one.Has("end", 1, 6) || one.Has("end", 1, 5) || one.LastTime() == 0 || two.Lines(0) != 9 {
		t.Errorf("found %+v and %+v", one.log, two.log)
	}
	if runs := s.Runs("c", "s"); len(runs) != 1 || s.Log(Key{"c", "s", "job"}, ray.Job{}).Written[0] != 3 {
		t.Errorf("runs %v", runs)
	}
	// They are kept until the position has passed them, the end event included.
	for _, c := range []struct {
		lines uint64
		ended bool
		known bool
	}{{5, false, true}, {6, false, true}, {6, true, false}} {
		next := *st
		next.Lines, next.Ended = c.lines, c.ended
		s.AcceptFile(f.Entry("worker-1.out"), &next)
		if got := f.Entry("worker-1.out").Found().Lines(1) > 0; got != c.known {
			t.Errorf("%+v: known is %t", c, got)
		}
	}
}

// A rollback returns log files to their saved states, finished ones too.
func TestFiles_Rollback(t *testing.T) {
	s := openFiles(t)
	f := s.Files("c", "s")
	f.Directory("node")
	s.AcceptFile(f.Entry("1"), fileState(1))
	if err := s.Save(t.Context(), sink.Watermark{}); err != nil {
		t.Fatal(err)
	}
	before := content(t, s)
	st := fileState(1)
	st.Finished = true
	s.AcceptFile(f.Entry("1"), st)
	s.AcceptFile(f.Entry("2"), fileState(2))
	s.Rollback()
	after := strings.ReplaceAll(content(t, s), "\n", " ")
	if before = strings.ReplaceAll(before, "\n", " "); after != before {
		t.Errorf("got  %s\nwant %s", after, before)
	}
	reopen(t, s)
}

// A cluster that gets another name keeps its log files, before and after a restart.
func TestFiles_RenamedCluster(t *testing.T) {
	s := openFiles(t)
	s.Configure([]string{"old"}, time.Now())
	if err := s.Claim("old", "s"); err != nil {
		t.Fatal(err)
	}
	s.SetCluster("old", ClusterState{Session: "s", Seen: true})
	f := s.Files("old", "s")
	f.Begin([]string{"node"})
	f.Directory("node").Decide([]uint64{FileHash("skipped"), FileHash("deleted")})
	s.AcceptFile(f.Entry("log"), fileState(1))
	s = reopen(t, s)
	s.Files("old", "s").Directory("node").Forget([]uint64{FileHash("deleted")}) // not saved yet
	s.Configure([]string{"new"}, time.Now())
	if err := s.Claim("new", "s"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f = s.Files("new", "s")
		if d := f.Directory("node"); !d.Decided() || !d.IsDone(FileHash("skipped")) || d.IsDone(FileHash("deleted")) || !f.IsFirst("node") {
			t.Error("the directory was forgotten")
		}
		if st := f.Entry("log").State(); st == nil || st.Lines != 1 {
			t.Errorf("position %+v", st)
		}
		if got := s.FileSessions("old"); len(got) > 0 {
			t.Errorf("sessions of the old name: %v", got)
		}
		s = reopen(t, s)
	}
}
