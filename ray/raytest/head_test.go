package raytest

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHead_Slots: tails, open or abandoned, block the Jobs API; an abandoned one is
// freed only by the job's next output.
func TestHead_Slots(t *testing.T) {
	h := New(t, PollInterval(2*time.Millisecond), Slots(3))
	quiet := h.Submit("quiet", JobOptions{EmptyLog: true})
	a, _ := view(t, h, "quiet")
	b, _ := view(t, h, "quiet")
	c, _ := view(t, h, "quiet")
	eventually(t, "three tails", func() bool { return h.OpenTails() == 3 && h.SlotsInUse() == 3 })
	if !hangs(t, h.URL()+"/api/version") || !hangs(t, h.URL()+"/api/jobs/") {
		t.Error("the Jobs API responds with every slot in use")
	}
	if status, _, _ := get(t, h.URL()+"/nodes?view=summary"); status != 200 {
		t.Error("another module does not respond")
	}
	for _, v := range []*viewer{a, b, c} {
		_ = v.conn.Close()
	}
	eventually(t, "the connections are gone", func() bool { return h.OpenTails() == 0 })
	if h.SlotsInUse() != 3 || !hangs(t, h.URL()+"/api/version") {
		t.Errorf("%d slots in use by abandoned tails of a silent job", h.SlotsInUse())
	}
	quiet.Print("x\n")
	eventually(t, "the slots are free", func() bool { return h.SlotsInUse() == 0 })
	if status, _, _ := get(t, h.URL()+"/api/version"); status != 200 || h.PeakTails() != 3 {
		t.Errorf("%d, peak %d", status, h.PeakTails())
	}

	old := New(t, PollInterval(2*time.Millisecond), RayVersion("2.40.0"))
	old.Submit("quiet", JobOptions{EmptyLog: true})
	v, _ := view(t, old, "quiet")
	_ = v.conn.Close()
	eventually(t, "2.40 frees the slot at once", func() bool { return old.SlotsInUse() == 0 })
}

func TestTail_PendingJob(t *testing.T) {
	h := New(t, PollInterval(2*time.Millisecond))
	j := h.Submit("job", JobOptions{Pending: true, EmptyLog: true})
	v, got := view(t, h, "job")
	if !strings.Contains(got.Status, "101") {
		t.Fatal(got.Status)
	}
	_, _ = v.conn.Write([]byte{0x89, 0x80, 0, 0, 0, 0, 0x88, 0x80, 0, 0, 0, 0}) // ping and Close: both are ignored
	j.Run()
	j.Print("x\n")
	same(t, event{Type: "text", Fin: 1, Len: 2, Data: "x\n"}, v.next())
}

func TestTail_UnsupportedIDs(t *testing.T) {
	h := New(t, PollInterval(2*time.Millisecond))
	for _, id := range []string{"a?b", "a#b", "a%20b"} {
		h.Submit(id, JobOptions{})
	}
	h.Submit("a/b", JobOptions{})
	for _, path := range []string{"a%3Fb", "a%23b", "a%2520b"} {
		v, _ := view(t, h, path)
		same(t, event{Type: "close", Code: 1000}, v.next())
	}
	silent, _ := view(t, h, "a%2Fb")
	_ = silent.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := silent.r.ReadByte(); seenEnd(err) != "timeout" {
		t.Errorf("a/b: %v", err)
	}
}

func TestHead_Restart(t *testing.T) {
	h := New(t, PollInterval(2*time.Millisecond))
	j := h.Submit("job", JobOptions{})
	first, log := h.Session(), string(j.Log())
	v, _ := view(t, h, "job")
	if e := v.next(); e.Data != log {
		t.Fatalf("got %q", e.Data)
	}
	h.Down()
	if _, err := io.ReadAll(v.r); err != nil && seenEnd(err) != "reset" {
		t.Errorf("tail ended with %v", err)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(h.URL(), "http://")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("request to a stopped dashboard: %v", err)
	}
	j.Print("meanwhile\n")
	if err := h.Up(); err != nil {
		t.Fatal(err)
	}
	if h.Session() != first || h.Job("job") != j {
		t.Error("stopping the dashboard changed the session or the jobs")
	}
	tests := []struct {
		o                   RestartOptions
		session, jobs, logs bool // kept
	}{
		{RestartOptions{KeepSession: true, KeepJobs: true, KeepLogs: true}, true, true, true},
		{RestartOptions{KeepSession: true, KeepJobs: true}, true, true, false},
		{RestartOptions{}, false, false, false},
	}
	for _, tt := range tests {
		before := h.Session()
		if err := h.Restart(tt.o); err != nil {
			t.Fatal(err)
		}
		status, _, _ := get(t, h.Nodes()[0].AgentURL()+"/logs/job-driver-job.log")
		if (h.Session() == before) != tt.session || (h.Job("job") != nil) != tt.jobs || (status == 200) != tt.logs {
			t.Errorf("%+v: session %t, job %t, log %d", tt.o, h.Session() == before, h.Job("job") != nil, status)
		}
	}
}

func TestHead_ResubmitAppends(t *testing.T) {
	h := New(t)
	h.Submit("job", JobOptions{EmptyLog: true}).Print("one\n")
	h.Submit("job", JobOptions{EmptyLog: true}).Print("two\n")
	if got := string(h.Job("job").Log()); got != "one\ntwo\n" {
		t.Errorf("on the same node: %q", got)
	}
	n, err := h.AddNode("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	h.Submit("job", JobOptions{EmptyLog: true, Node: n}).Print("three\n")
	if got := string(h.Job("job").Log()); got != "three\n" {
		t.Errorf("on another node: %q", got)
	}
}

func TestNode_AgentDownClosesTails(t *testing.T) {
	h := New(t, PollInterval(2*time.Millisecond))
	j := h.Submit("job", JobOptions{EmptyLog: true})
	v, _ := view(t, h, "job")
	n := h.Nodes()[0]
	n.AgentDown()
	same(t, event{Type: "close", Code: 1000}, v.next())
	if status, _, body := get(t, h.URL()+"/api/v0/logs/file?node_id="+n.ID+"&filename=job-driver-job.log"); status != 500 || !strings.Contains(string(body), "doesn't exist") {
		t.Errorf("%d %s", status, body)
	}
	if err := n.AgentUp(); err != nil {
		t.Fatal(err)
	}
	j.Print("x")
	if status, _, body := send(t, "GET", n.AgentURL()+"/logs/job-driver-job.log", "", "Range: bytes=0-"); status != 206 || string(body) != "x" {
		t.Errorf("%d %s", status, body)
	}
}

func TestLogFile_OldRay(t *testing.T) {
	for version, want := range map[string][2]string{
		"2.9.3":  {"1x\n", "0Closing HTTP stream due to internal server error.\n"},
		"2.40.0": {"x\n", "[get_logs] Fetch log error: A file is not found at: "},
	} {
		h := New(t, RayVersion(version))
		h.Submit("job", JobOptions{EmptyLog: true}).Print("x\n")
		for i, name := range []string{"job", "nope"} {
			status, _, body := send(t, "GET", h.URL()+"/api/v0/logs/file?format=text&node_id="+h.Nodes()[0].ID+"&filename=job-driver-"+name+".log", "", "User-Agent: x")
			if status != 200 || !strings.HasPrefix(string(body), want[i]) {
				t.Errorf("%s: %d %q", version, status, body)
			}
		}
	}
}

// A killed server sends nothing to waiting clients: an empty 200 would mean that the
// log is empty.
func TestNode_AgentDownDuringHang(t *testing.T) {
	h := New(t)
	h.Submit("a", JobOptions{}).Print("a line\n")
	node := h.Nodes()[0]
	for range 20 {
		in := h.Inject(Fault{Endpoint: EndpointNodeAgent, Action: Hang, Times: 1})
		ended := make(chan error, 1)
		go func() {
			res, err := http.Get(node.AgentURL() + "/logs/job-driver-a.log")
			if err == nil {
				_ = res.Body.Close()
			}
			ended <- err
		}()
		eventually(t, "the hang", func() bool { return in.Hits() == 1 })
		node.AgentDown()
		if err := <-ended; err == nil {
			t.Fatal("the request got a response")
		}
		if err := node.AgentUp(); err != nil {
			t.Fatal(err)
		}
	}
}
