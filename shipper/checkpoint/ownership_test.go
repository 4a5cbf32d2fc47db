package checkpoint

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"raytap/lines"
	"raytap/ray"
	"raytap/shipper/record"
)

func TestOwnership_OneNamePerRay(t *testing.T) {
	p, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	p.Configure([]string{"a", "b"}, time.Now())
	if err := p.Claim("a", "session"); err != nil {
		t.Fatal(err)
	}
	if err := p.Claim("b", "session"); err == nil || !strings.Contains(err.Error(), `the same Ray as cluster "a"`) {
		t.Errorf("a second name was accepted: %v", err)
	}
	if err := p.Claim("b", "another session"); err != nil {
		t.Error(err)
	}
	p.SetCluster("a", ClusterState{Session: "session", Seen: true})
	p.Release("a")
	if err := p.Claim("c", "session"); err == nil {
		t.Error("a new name took over the positions of a configured one")
	}
	p.Configure([]string{"b", "c"}, time.Now())
	if err := p.Claim("c", "session"); err != nil || !p.Cluster("c").Seen || p.Cluster("a").Seen {
		t.Errorf("positions of a removed cluster were not taken over: %v", err)
	}
}

// Of two uids Kubernetes says that they are two clusters, whatever session their heads report.
// Between a uid and a name the session says it.
func TestOwnership_UIDs(t *testing.T) {
	for name, tt := range map[string]struct {
		first, firstName, second, secondName string
		watched                              bool // the first one is, still
		err                                  string
		adopts                               bool
	}{
		"two uids, two names":                      {"1", "ray/blue", "2", "ray/green", true, "", false},
		"two uids, two names, one deleted":         {"1", "ray/blue", "2", "ray/green", false, "", false},
		"created again before the first one ended": {"1", "ray/dev", "2", "ray/dev", true, "was deleted and created again", false},
		"created again":                            {"1", "ray/dev", "2", "ray/dev", false, "", true},
		"found in Kubernetes, too":                 {"dev", "dev", "2", "ray/dev", true, `"ray/dev" is the same Ray as cluster "dev"`, false},
		"from the configuration to Kubernetes":     {"dev", "dev", "2", "ray/dev", false, "", true},
		"from Kubernetes to the configuration":     {"1", "ray/dev", "dev", "dev", false, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Open(t.TempDir() + "/positions")
			if err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			p.Configure([]string{tt.first}, now)
			p.Register(tt.first, tt.firstName)
			if err := p.Claim(tt.first, "s"); err != nil {
				t.Fatal(err)
			}
			p.SetCluster(tt.first, ClusterState{Session: "s", Seen: true})
			acceptLines(p, Key{Cluster: tt.first, Session: "s", SubmissionID: "a"}, 3)
			p.AcceptFile(p.Files(tt.first, "s").Entry("worker.out"), fileState(2))
			if !tt.watched {
				p.Release(tt.first)
				p.Configure([]string{tt.second}, now)
			}
			p = reopen(t, p)
			if tt.watched {
				p.Configure([]string{tt.first, tt.second}, now)
			}
			p.Register(tt.second, tt.secondName)
			if err := p.Claim(tt.second, "s"); (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("got %v, want %q", err, tt.err)
			}
			for range 2 {
				n, _ := p.Shipped(Key{Cluster: tt.second, Session: "s", SubmissionID: "a"})
				if adopted := p.Cluster(tt.second).Seen && n == 3 && len(p.FileSessions(tt.second)) == 1; adopted != tt.adopts {
					t.Errorf("positions taken over: %v, %d lines, %v", p.Cluster(tt.second), n, p.FileSessions(tt.second))
				}
				p = reopen(t, p)
			}
		})
	}
}

// What only the sink has after a crash is found again under the uid of the cluster whose name
// the records have.
func TestOwnership_RecoveredUnderUID(t *testing.T) {
	for name, tt := range map[string]struct {
		saved   bool
		session string // of the records
	}{"its session was saved": {true, "s"}, "its head was restarted": {true, "t"}, "nothing was saved": {false, "s"}} {
		t.Run(name, func(t *testing.T) {
			p, err := Open(t.TempDir() + "/positions")
			if err != nil {
				t.Fatal(err)
			}
			if tt.saved {
				p.Register("uid-0", "ray/dev")
				p.SetCluster("uid-0", ClusterState{Session: "before", Seen: true})
				p.Register("uid-1", "ray/dev")
				p.SetCluster("uid-1", ClusterState{Session: "s", Seen: true})
				p.Configure([]string{"uid-1"}, time.Now()) // uid-0 was deleted
			}
			p = reopen(t, p)
			enc := record.NewEncoder(record.Options{Cluster: "ray/dev", Session: tt.session, SubmissionID: "a"})
			line := enc.AppendLine(nil, 1, lines.Line{Text: []byte("x"), Seq: 4}, 0)
			if err := p.Recovered(line); err != nil {
				t.Fatal(err)
			}
			p = reopen(t, p)
			p.Configure([]string{"uid-1"}, time.Now())
			p.Register("uid-1", "ray/dev")
			if err := p.Claim("uid-1", tt.session); err != nil {
				t.Fatal(err)
			}
			if l := p.Log(Key{Cluster: "uid-1", Session: tt.session, SubmissionID: "a"}, ray.Job{}); l.Written[0] != 5 {
				t.Errorf("the sink has lines up to %v: %s", l.Written, content(t, p))
			}
		})
	}
}

// Clusters that come and go leave nothing behind: not in memory, and not in the file.
func TestExpire_ClosedClusters(t *testing.T) {
	p, err := Open(t.TempDir() + "/positions")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	p.Configure([]string{"static"}, now)
	p.SetCluster("static", ClusterState{Session: "static", Seen: true})
	acceptLines(p, Key{Cluster: "static", Session: "static", SubmissionID: "a"}, 1)
	const perHour = 40
	for i := range 6 * perHour {
		now = now.Add(time.Hour / perHour)
		id := "uid-" + strconv.Itoa(i)
		p.Configure([]string{"static", id}, now)
		p.Register(id, "ray/job-"+strconv.Itoa(i))
		if err := p.Claim(id, id); err != nil {
			t.Fatal(err)
		}
		p.SetCluster(id, ClusterState{Session: id, Seen: true, BackfillSkipped: map[string]time.Time{"old": now}})
		l := p.Log(Key{Cluster: id, Session: id, SubmissionID: "a"}, ray.Job{})
		next := l.State
		next.Done = true
		p.Accept(l.Entry, next)
		p.AcceptFile(p.Files(id, id).Entry("worker.out"), fileState(1))
		p.DropFiles(id, id) // their ends are written
		p.Files(id, "another")
		p.SetSlots(id, map[string]int{"a": 1})
		p.Release(id)
		p.Expire(now)
		if i%perHour == 0 {
			p = reopen(t, p)
		}
	}
	unfinished := Key{Cluster: "lost", Session: "lost", SubmissionID: "a"}
	p.Register("lost", "ray/lost")
	acceptLines(p, unfinished, 1)
	for range 2 {
		p.Configure([]string{"static"}, now)
		p.Expire(now)
		if n := len(p.clusters); n > perHour+5 || len(p.logs) > n || len(p.files) > n || len(p.slots) > n || len(p.ownership.owners) > 1 {
			t.Errorf("kept: %d clusters, %d logs, %d sessions of files, %d of slots, %d claims", n, len(p.logs), len(p.files), len(p.slots), len(p.ownership.owners))
		}
		p = reopen(t, p)
	}
	p.Configure([]string{"static"}, now)
	p.Expire(now.Add(2 * time.Hour))
	if len(p.clusters) != 2 || len(p.logs) != 2 || len(p.files)+len(p.slots) != 0 {
		t.Errorf("two hours later: %d clusters, %d logs, %d sessions of files, %d of slots", len(p.clusters), len(p.logs), len(p.files), len(p.slots))
	}
	p.Expire(now.Add(Retention + time.Minute))
	if _, ok := p.logs[unfinished]; ok || len(p.clusters) != 1 || !p.Cluster("static").Seen {
		t.Errorf("a week later: %d clusters, %d logs", len(p.clusters), len(p.logs))
	}
}

func TestOwnership_UnknownSessionIsNotOne(t *testing.T) {
	p, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := p.Claim(name, ray.UnknownSession); err != nil {
			t.Error(err)
		}
	}
}

// Clusters with a log that is not read to its end, of a driver or of a node.
func TestUnfinishedClusters(t *testing.T) {
	p, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	acceptLines(p, Key{Cluster: "drivers", Session: "1", SubmissionID: "a"}, 1)
	done := p.Log(Key{Cluster: "done", Session: "2", SubmissionID: "a"}, ray.Job{})
	next := done.State
	next.Done = true
	p.Accept(done.Entry, next)
	f := p.Files("workers", "3")
	p.AcceptFile(f.Entry("worker-1.out"), fileState(1))
	p.Files("none", "4")
	if got := p.UnfinishedClusters(); len(got) != 2 || !got["drivers"] || !got["workers"] {
		t.Errorf("got %v", got)
	}
}
