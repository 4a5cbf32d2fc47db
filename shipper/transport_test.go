package shipper

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"raytap/lines/linestest"
	"raytap/ray"
	"raytap/ray/dashboard"
	"raytap/ray/raytest"
	"raytap/ray/transport"
	"raytap/shipper/record"
	"raytap/shipper/tail"
	"raytap/shipper/writer"
)

// pinnedTransports has the protocols and node agent modes that pin each transport.
var pinnedTransports = []struct{ name, protocol, agents string }{
	{"node_agent", tail.ProtocolHTTP, "on"},
	{"websocket", tail.ProtocolWebSocket, "off"},
	{"file", tail.ProtocolHTTP, "off"},
	{"auto", tail.ProtocolAuto, "on"},
	{"auto without agents", tail.ProtocolAuto, "off"},
}

func eachTransport(t *testing.T, f func(t *testing.T, protocol, agents string)) {
	for _, w := range pinnedTransports {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			f(t, w.protocol, w.agents)
		})
	}
}

// printMixed prints what logs consist of: lines, blank lines, progress bars, CRLF,
// partial lines, characters in two parts, and no newline at the end.
func printMixed(job *raytest.Job, from int, pause func()) {
	for i := from; i < from+40; i++ {
		job.Printf("line %d of an ordinary log, with some text after it\n", i)
		switch i % 8 {
		case 1:
			job.Print("\r\n\n")
		case 2:
			for p := range 5 {
				job.Printf("\r%3d%%|#### of %d", p*20, i)
				pause()
			}
			job.Print("\n")
		case 3:
			job.Printf("%d: part of a li", i)
			pause()
			job.Print("ne, and the rest\r")
			pause()
			job.Print("\n")
		case 4:
			job.Print("torn \xf0\x9f")
			pause()
			job.Print("\x98\x80 character ☃\n")
		case 5:
			job.Print("\x1b[31mred\x1b[0m\tand NUL \x00\n")
		}
		pause()
	}
	job.Print("no newline at the end")
}

func TestTransport_EveryLineOnce(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		r := newHarness(t, head, agents, fastOptions(protocol), writer.Options{})
		job := head.Submit("job-1", raytest.JobOptions{})
		rnd := rand.New(rand.NewPCG(1, 2))
		printMixed(job, 0, func() { <-time.After(time.Duration(rnd.IntN(8)) * time.Millisecond) })
		log := job.Log()
		job.End("FAILED", 3)
		end := r.waitEnd("job-1")
		r.checkLines("job-1", log)
		if end.Status != "FAILED" || end.Complete == nil || !*end.Complete || end.ExitCode == nil || *end.ExitCode != 3 {
			t.Errorf("end event %+v", end)
		}
		if want := uint64(len(linestest.Lines(log))); *end.Lines != want {
			t.Errorf("the end event counts %d lines, want %d", *end.Lines, want)
		}
		if n := r.metric("gaps_total"); n != 0 {
			t.Errorf("%v gaps, want none", n)
		}
	})
}

func TestTransport_Cuts(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t, raytest.SlotReleaseDelay(20*time.Millisecond))
		o := fastOptions(protocol)
		r := newHarness(t, head, agents, o, writer.Options{})
		rnd := rand.New(rand.NewPCG(3, 4))
		var faults []*raytest.Injected
		for _, f := range []raytest.Fault{
			{Endpoint: raytest.EndpointTail, Action: raytest.CutClose, Chance: 0.4, Spread: 4000, Rand: rnd},
			{Endpoint: raytest.EndpointTail, Action: raytest.CutReset, Chance: 0.3, Spread: 4000, Rand: rnd},
			{Endpoint: raytest.EndpointTail, Action: raytest.CloseFrame, Chance: 0.3, Spread: 4000, Rand: rnd},
			{Endpoint: raytest.EndpointNodeAgent, Action: raytest.CutReset, Chance: 0.3, Spread: 300, Rand: rnd},
			{Endpoint: raytest.EndpointNodeAgent, Chance: 0.1, Rand: rnd},
			{Endpoint: raytest.EndpointLogFile, Action: raytest.CutReset, Chance: 0.3, Spread: 3000, Rand: rnd},
			{Endpoint: raytest.EndpointLogFile, Chance: 0.1, Rand: rnd},
		} {
			faults = append(faults, head.Inject(f))
		}
		job := head.Submit("job-1", raytest.JobOptions{})
		hits := func() (n int) {
			for _, f := range faults {
				n += f.Hits()
			}
			return n
		}
		for i := 0; i < 6 || hits() < 3; i++ {
			printMixed(job, 40*i, func() { <-time.After(time.Duration(rand.IntN(4)) * time.Millisecond) })
		}
		log := job.Log()
		job.End("SUCCEEDED", 0)
		r.waitEnd("job-1")
		r.checkLines("job-1", log)
	})
}

func TestTransport_InvalidUTF8(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	r := newHarness(t, head, "off", fastOptions(tail.ProtocolAuto), writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("before\n")
	r.until("a WebSocket is open", func() bool { return head.OpenTails() > 0 })
	job.Print("bad \xff\xfe byte\nafter it\n")
	job.Print(strings.Repeat("long ", 900_000) + "\n") // over 4 MiB
	job.Print("the last line\n")
	r.until("the lines after the invalid byte are shipped", func() bool {
		recs := r.records("job-1")
		return recs[len(recs)-1].Message == "the last line"
	})
	log := job.Log()
	job.End("SUCCEEDED", 0)
	r.waitEnd("job-1")
	recs := r.records("job-1")
	want := linestest.Lines(log)
	for i, rec := range recs {
		if rec.Truncated && rec.Bytes == 4_500_000 {
			recs[i].Message = want[rec.Seq] // truncated: only its seq is checked
		}
	}
	if err := compareLines(recs, log); err != nil {
		t.Error(err)
	}
}

// One successful read shows all tails of a node that its agent works again.
func TestTransport_RecoveredAgentUsedByAllJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const jobs = 60
		h := newBusyHead(jobs, &ray.Error{Op: "read log from node agent", Code: 503})
		shipTo(t, h, h, tail.ProtocolAuto, func(s *Shipper) {
			time.Sleep(7 * time.Minute)
			h.mu.Lock()
			h.agent = nil
			h.mu.Unlock()
			time.Sleep(transportCooldown + 2*fileIdle)
			by := map[string]int{}
			for _, st := range s.Tails() {
				by[st.Transport]++
			}
			if by["node_agent"] != jobs {
				t.Errorf("number of jobs by transport, of %d: %v", jobs, by)
			}
		})
	})
}

// A server that responds 501 to a request for a log file has no such API, in any version.
func TestTransport_FileNotImplemented(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{tail.ProtocolAuto, tail.ProtocolHTTP, tail.ProtocolWebSocket} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			head := raytest.New(t)
			head.Inject(raytest.Fault{Endpoint: raytest.EndpointLogFile, Status: http.StatusNotImplemented})
			o := fastOptions(protocol)
			r := newHarness(t, head, "off", o, writer.Options{})
			job := head.Submit("job-1", raytest.JobOptions{})
			job.Print("a\nb\nlast")
			job.End("SUCCEEDED", 0)
			if end := r.waitEnd("job-1"); !*end.Complete {
				t.Errorf("end event %+v", end)
			}
			r.checkLines("job-1", job.Log())
			if n := head.Requests(raytest.EndpointLogFile); n > 3 {
				t.Errorf("the file was requested %d times", n)
			}
		})
	}
}

// With a token, agents outside node_agents.allow are not used. That costs much on
// big clusters and is not visible otherwise, so there is one warning.
func TestTransport_WarningForAgentsWithoutToken(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef0123456789abcdef"
	head := raytest.New(t, raytest.Token(token))
	node, err := head.AddNode("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	tr, err := transport.New(transport.Options{URL: head.URL(), Timeout: time.Second, Scheme: "Bearer ", Token: transport.StaticToken(token)})
	if err != nil {
		t.Fatal(err)
	}
	c, err := dashboard.New(tr, dashboard.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	r := newHarnessFor(t, func(out *writer.Writer, o Options) *Shipper { return New(uncached{c}, c, out, o) }, fastOptions(tail.ProtocolAuto), writer.Options{}, "")
	r.head = head
	for _, id := range []string{"job-1", "job-2"} {
		job := head.Submit(id, raytest.JobOptions{Node: node})
		job.Print("a line\n")
		job.End("SUCCEEDED", 0)
		if end := r.waitEnd(id); !*end.Complete {
			t.Errorf("end event %+v", end)
		}
	}
	r.stop()
	text := r.logText()
	if n := strings.Count(text, "level=warning msg=\"Node agents are not used"); n != 1 || !strings.Contains(text, "node_agents.allow") {
		t.Errorf("%d warnings, want 1", n)
	}
	if strings.Contains(text, token) {
		t.Error("the log shows the token")
	}
}

// A window that ends within a line has one line end less than the requested number of
// lines. It is still not the whole log.
func TestTransport_WindowEndsWithinLine(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	r := newHarness(t, head, "off", fastOptions(tail.ProtocolHTTP), writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{})
	for i := range smallLog / 100 {
		job.Printf("%d %s\n", i, strings.Repeat("x", 110))
	}
	r.until("the log is larger than one that is read again", func() bool {
		recs := r.records("job-1")
		return len(recs) > smallLog/100
	})
	for i := range 3 {
		reads := head.Requests(raytest.EndpointLogFile)
		job.Printf("the end of a line\nand a partial line %d ", i)
		r.until("the partial line was read", func() bool { return head.Requests(raytest.EndpointLogFile) > reads })
	}
	log := job.Log()
	job.End("SUCCEEDED", 0)
	r.waitEnd("job-1")
	r.checkLines("job-1", log)
	if n := len(r.events("job-1", record.EventGap)); n > 0 {
		t.Errorf("%d gap events", n)
	}
}
