package nodelogs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/shipper/aggregate"
	"raytap/shipper/tail"
)

const traceback = "Traceback (most recent call last):\n  File \"train.py\", line 7, in <module>\n    step()\nValueError: no data"

var multiline = Options{Aggregate: aggregate.Options{Multiline: true}}

// A message of several lines is one record, however it was written: at once, in pieces with
// pauses that are shorter than a look, and over a rotation. Ray's own lines end it.
func TestCluster_Multiline(t *testing.T) {
	tracebackLines := strings.SplitAfter(traceback, "\n")
	for name, write := range map[string]func(n *nodes, at *node, name string){
		"at once": func(n *nodes, at *node, name string) { n.write(at, name, "%s\nafter\n", traceback) },
		"in pieces": func(n *nodes, at *node, name string) {
			for _, l := range tracebackLines {
				n.write(at, name, "%s", l)
				pass(500 * time.Millisecond)
			}
			n.write(at, name, "\nafter\n")
		},
		"over a rotation": func(n *nodes, at *node, name string) {
			n.write(at, name, "%s%s", tracebackLines[0], tracebackLines[1])
			pass(300 * time.Millisecond)
			n.rotate(at, name, 5)
			n.write(at, name, "%s%s\nafter\n", tracebackLines[2], tracebackLines[3])
		},
		"over a rotation that a look has seen": func(n *nodes, at *node, name string) {
			n.write(at, name, "%s%s", tracebackLines[0], tracebackLines[1])
			n.rotate(at, name, 5)
			n.write(at, name, "%s", tracebackLines[2])
			pass(time.Second)
			n.write(at, name, "%s\nafter\n", tracebackLines[3])
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *nodes, dir string) {
				at, file := n.add(nil), fileName(1, job, "out")
				n.live(at, 1)
				n.write(at, file, ":job_id:%s\nbefore\n", job)
				h := start(t, n, dir, multiline)
				h.cluster.Observe(testSession, submitted)
				pass(30 * time.Second)
				for range 20 { // a look every second
					n.write(at, file, "tick\n")
					pass(time.Second)
				}
				write(n, at, file)
				pass(time.Minute)
				n.write(at, file, "raised\n  at 1\n:task_name:next\n  at 2\n")
				pass(2 * time.Minute)
				h.stop()
				h.checkKeys()
				got := slices.DeleteFunc(h.messages(), func(m string) bool { return m == "tick" })
				if want := []string{"before", traceback, "after", "raised\n  at 1", "  at 2"}; !slices.Equal(got, want) {
					t.Errorf("messages %q, want %q", got, want)
				}
			})
		})
	}
}

// A message that nothing follows is written by the look after the one that has read it. The
// last line of a dead worker, which has no end, comes before its end event.
func TestCluster_MultilineLast(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at, file := n.add(nil), fileName(1, job, "out")
		n.live(at, 1, 2)
		n.write(at, file, ":job_id:%s\n", job)
		h := start(t, n, dir, multiline)
		h.cluster.Observe(testSession, submitted)
		pass(30 * time.Second)
		n.write(at, file, "first\n")
		pass(time.Minute)
		n.write(at, file, "%s\n", traceback)
		since := time.Now()
		for !slices.Contains(h.messages(), traceback) {
			if pass(time.Second); time.Since(since) > time.Minute+5*time.Second {
				t.Fatalf("messages %q", h.messages())
			}
		}
		n.write(at, file, "killed\n  by the OOM")
		n.die(at, 1)
		pass(3 * time.Minute)
		h.stop()
		h.checkKeys()
		if want := []string{"first", traceback, "killed", "  by the OOM"}; !slices.Equal(h.messages(), want) {
			t.Errorf("messages %q, want %q", h.messages(), want)
		}
		if last := h.records()[len(h.records())-1]; last.Event != "end" || last.Seq != 8 || last.Lines != 8 {
			t.Errorf("last record %+v, want the end after 8 lines", last)
		}
	})
}

// A message that is longer than what one look reads is read to its end.
func TestCluster_MultilineLong(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at, file := n.add(nil), fileName(1, job, "out")
		n.live(at, 1)
		o := multiline
		o.Aggregate.MaxLines, o.Limits.MaxMessageSize = 10_000, 8<<20
		long := "first" + strings.Repeat("\n  "+strings.Repeat("x", 1000), (lookBytes+1<<20)/1000)
		n.write(at, file, ":job_id:%s\n%s\nlast\n", job, long)
		h := start(t, n, dir, o)
		h.cluster.Observe(testSession, submitted)
		pass(time.Minute)
		h.stop()
		if got := h.messages(); len(got) != 2 || got[0] != long || got[1] != "last" {
			t.Errorf("%d messages, the first one of %d bytes, want %d", len(got), len(got[0]), len(long))
		}
	})
}

// A progress bar makes one record for each interval, over many looks, and its last state.
func TestCluster_ProgressInterval(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at, file := n.add(nil), fileName(1, job, "err")
		n.live(at, 1)
		n.write(at, file, ":job_id:%s\nloading\n", job)
		h := start(t, n, dir, Options{Aggregate: aggregate.Options{Progress: 10 * time.Second}})
		h.cluster.Observe(testSession, submitted)
		pass(30 * time.Second)
		for i := range 120 {
			n.write(at, file, "%d%%\r", i)
			pass(500 * time.Millisecond)
		}
		bars := func() int {
			return len(slices.DeleteFunc(h.messages(), func(m string) bool { return !strings.HasSuffix(m, "%") }))
		}
		if got := bars(); got < 5 || got > 7 {
			t.Errorf("%d records of a bar of a minute: %q", got, h.messages())
		}
		pass(20 * time.Second) // it stands still
		if got := h.messages(); got[len(got)-1] != "119%" {
			t.Errorf("last state %q", got[len(got)-1])
		}
		if got := len(h.cluster.current.progress.logs); got != 1 {
			t.Errorf("%d logs with a bar, want 1", got)
		}
		n.write(at, file, "\ndone\n")
		pass(time.Minute)
		if got := len(h.cluster.current.progress.logs); got != 0 {
			t.Errorf("%d logs with a bar after the interval, want 0", got)
		}
		h.stop()
		h.checkKeys()
		if got := h.messages(); got[len(got)-1] != "done" || bars() > 8 {
			t.Errorf("messages %q", got)
		}
	})
}

// The ids of Ray's JSON logging are in the records of workers' lines, too, but for what the
// file says.
func TestCluster_Structured(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at, file := n.add(nil), fileName(1, job, "err")
		n.live(at, 1)
		line := fmt.Sprintf(`{"asctime":"2026-11-24 12:00:00,000","levelname":"INFO","message":"step","job_id":"%s","worker_id":"%s","node_id":"%s","task_id":"t1","task_name":"other"}`,
			"ffffffff", workerID(2), at.NodeID)
		n.write(at, file, ":job_id:%s\n:task_name:train\n%s\n", job, line)
		h := start(t, n, dir, Options{Record: tail.RecordOptions{Structured: true}})
		h.cluster.Observe(testSession, submitted)
		pass(30 * time.Second)
		h.stop()
		got := h.records()
		if len(got) != 1 || got[0].TaskID != "t1" || got[0].TaskName != "train" || got[0].WorkerID != workerID(1) || got[0].JobID != job || got[0].Message != line {
			t.Errorf("records %+v", got)
		}
	})
}
