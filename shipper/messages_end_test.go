package shipper

import (
	"fmt"
	"io"
	"testing"
	"time"

	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/ray"
	"raytap/shipper/record"
)

func TestMessages_CompleteWhileJobRuns(t *testing.T) {
	t.Parallel()
	eachFraming(t, func(t *testing.T, a *fakeAgent, protocol string) {
		ends := 0
		a.next = func(_ bool, _ string, n int) error {
			if ends < 3 && n > 5+10*ends {
				ends++
				return io.EOF
			}
			return nil
		}
		r := newMessageHarness(t, a, fastOptions(protocol), writer.Options{}, "")
		a.submit("job-1")
		a.printMixed("job-1", 0, 40, shortPause)
		r.until("the agent has reported it as complete three times", func() bool {
			return a.count(func() int { return ends }) == 3 || len(r.events("job-1", record.EventEnd)) > 0
		})
		a.printMixed("job-1", 40, 20, shortPause)
		if n := r.metric("transport_fallbacks_total"); n != 0 {
			t.Errorf("%v transport fallbacks because of it", n)
		}
		a.end("job-1", ray.JobSucceeded)
		r.waitEnd("job-1")
		r.checkLines("job-1", a.text("job-1"))
	})
}

func TestMessages_StreamEndIsNotLogEnd(t *testing.T) {
	t.Parallel()
	for name, noSnapshot := range map[string]bool{"with snapshots": false, "without snapshots": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachFraming(t, func(t *testing.T, a *fakeAgent, protocol string) {
				a.noSnapshot = noSnapshot
				r := newMessageHarness(t, a, fastOptions(protocol), writer.Options{}, "")
				a.submit("job-1")
				limit := 20
				a.next = func(_ bool, _ string, n int) error {
					if n >= limit { // the agent closes streams after a while, each new one later
						limit += 40
						return &ray.Error{Op: "tail job", Code: 503, Detail: "closed"}
					}
					return nil
				}
				a.printMixed("job-1", 0, 60, func() {})
				a.end("job-1", ray.JobSucceeded)
				end := r.waitEnd("job-1")
				r.checkLines("job-1", a.text("job-1"))
				if !*end.Complete {
					t.Errorf("end event %+v", end)
				}
			})
		})
	}
}

func TestMessages_StreamOutlivesJob(t *testing.T) {
	t.Parallel()
	eachFraming(t, func(t *testing.T, a *fakeAgent, protocol string) {
		a.next = func(_ bool, _ string, n int) error {
			if n >= 30 {
				return errHang
			}
			return nil
		}
		o := fastOptions(protocol)
		o.Timeout = time.Hour // of silence, before a stream is checked
		r := newMessageHarness(t, a, o, writer.Options{}, "")
		a.submit("job-1")
		a.printMixed("job-1", 0, 60, func() {})
		a.end("job-1", ray.JobStopped)
		r.waitEnd("job-1")
		r.checkLines("job-1", a.text("job-1"))
	})
}

func TestMessages_JobNeverStarted(t *testing.T) {
	t.Parallel()
	for _, noLog := range []bool{false, true} {
		for _, protocol := range []string{tail.ProtocolAuto, tail.ProtocolWebSocket, tail.ProtocolHTTP} {
			t.Run(fmt.Sprintf("streams refused=%v, %s", noLog, protocol), func(t *testing.T) {
				t.Parallel()
				a := newFakeAgent()
				a.noLog = noLog
				r := newMessageHarness(t, a, fastOptions(protocol), writer.Options{}, "")
				a.submit("job-1")
				a.change(func() { a.jobs["job-1"].Status = ray.JobPending })
				<-time.After(50 * time.Millisecond)
				if a.count(func() int { return a.dials[true] + a.dials[false] }) > 0 {
					t.Error("the log of a pending job was requested")
				}
				a.end("job-1", ray.JobFailed)
				end := r.waitEnd("job-1")
				if *end.Lines != 0 || !*end.Complete || end.Status != "FAILED" {
					t.Errorf("end event %+v", end)
				}
			})
		}
	}
}

func TestMessages_LogNotThereYet(t *testing.T) {
	t.Parallel()
	a := newFakeAgent()
	a.noLog = true
	r := newMessageHarness(t, a, fastOptions(tail.ProtocolAuto), writer.Options{}, "")
	a.submit("job-1") // its node is not known
	r.until("each transport was tried", func() bool {
		return a.count(func() int { return min(a.dials[true], a.dials[false], a.wholes) }) > 0
	})
	a.change(func() { a.noLog = false })
	a.printMixed("job-1", 0, 5, shortPause)
	a.end("job-1", ray.JobSucceeded)
	r.waitEnd("job-1")
	r.checkLines("job-1", a.text("job-1"))
}

func TestMessages_JobMissingForAWhile(t *testing.T) {
	t.Parallel()
	for name, keeps := range map[string]bool{"log missing, too": false, "log available": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newFakeAgent()
			a.keeps = keeps
			r := newMessageHarness(t, a, fastOptions(tail.ProtocolAuto), writer.Options{}, "")
			a.submit("job-1")
			a.printMixed("job-1", 0, 20, shortPause)
			a.change(func() {
				a.jobs["job-1"].known = false
				a.next = func(bool, string, int) error { return &ray.Error{Op: "tail job", Code: 500, Detail: "Job not found"} }
			})
			<-time.After(300 * time.Millisecond) // longer than the grace period
			a.change(func() { a.next, a.jobs["job-1"].known = nil, true })
			a.printMixed("job-1", 20, 20, shortPause)
			if n := len(r.events("job-1", record.EventEnd)); n != 0 {
				t.Fatalf("%d end events of a running job", n)
			}
			a.end("job-1", ray.JobSucceeded)
			r.waitEnd("job-1")
			r.checkLines("job-1", a.text("job-1"))
		})
	}
}
