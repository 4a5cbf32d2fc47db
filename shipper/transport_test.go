package shipper

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/lines/linestest"
	"raytap/ray/raytest"
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

// printMixed prints what logs are made of: lines, blank ones, progress bars, CRLF,
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
