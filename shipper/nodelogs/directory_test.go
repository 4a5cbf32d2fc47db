package nodelogs

import (
	"fmt"
	"testing"
	"time"

	"raytap/shipper/checkpoint"
)

// The budget holds, however many files there are.
func TestCluster_Budget(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		for i := range 1000 {
			n.live(at, i)
			n.write(at, fileName(i, job, "out"), ":job_id:%s\n%s\n", job, fmt.Sprint("line ", i))
		}
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(5 * time.Minute)
		if got := len(h.messages()); got != 1000 {
			t.Errorf("%d lines", got)
		}
		n.set(func() { clear(n.requests) })
		pass(5 * time.Minute)
		if total := n.count("stat") + n.count("file"); total > 300*10 {
			t.Errorf("%d requests in 5 minutes", total)
		}
		h.stop()
		h.checkKeys()
	})
}

// An index that is cut off before the logs of workers has other names of theirs.
func TestCluster_TruncatedIndex(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		for i, in := range []string{"ffffffff", job, "ffffffff", job} {
			n.live(at, i)
			n.write(at, fmt.Sprintf("python-core-worker-%s_%d.log", workerID(i), 1000+i), "")
			n.write(at, fileName(i, in, "out"), ":job_id:%s\nline of %d\n", job, i)
			n.write(at, fileName(i, in, "err"), "")
		}
		n.set(func() {
			for i := range at.Workers {
				at.Workers[i].JobID = job
			}
			n.cut = 4
		})
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(5 * time.Minute)
		if ends := h.events("end"); len(ends) > 0 {
			t.Errorf("ends: %+v", ends)
		}
		h.stop()
		h.checkKeys()
		if got := h.messages(); len(got) != 4 {
			t.Errorf("lines: %q", got)
		}
	})
}

// A directory with too many files is listed once an hour, and often again once it has fewer.
func TestCluster_TooManyFiles(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 0)
		n.write(at, fileName(0, job, "out"), ":job_id:%s\nfirst\n", job)
		n.set(func() {
			for i := range maxListed {
				at.files[fmt.Sprint("x", i)] = &file{}
			}
		})
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(time.Minute)
		n.set(func() {
			clear(n.requests)
			for i := range maxListed {
				delete(at.files, fmt.Sprint("x", i))
			}
		})
		pass(30 * time.Minute)
		if got := n.count("index"); got > 0 {
			t.Errorf("%d listings within half an hour", got)
		}
		pass(31 * time.Minute)
		n.write(at, fileName(1, job, "out"), ":job_id:%s\nsecond\n", job)
		pass(time.Minute)
		h.stop()
		h.checkKeys()
		if got := h.messages(); len(got) != 2 {
			t.Errorf("shipped %q", got)
		}
	})
}

// A log that was guessed by its worker and does not exist leaves nothing behind.
func TestCluster_GuessedLog(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 1)
		n.write(at, fileName(1, job, "out"), ":job_id:%s\nline\n", job)
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(2 * time.Minute)
		for _, i := range []int{1, 7} {
			n.write(at, fmt.Sprintf("python-core-worker-%s_%d.log", workerID(i), 1000+i), "")
		}
		n.set(func() { n.cut = 2 }) // names the workers, and none of their logs
		log := fmt.Sprintf("worker-%s.out", workerID(7))
		before := h.out.Positions.Files("test", testSession).Entry(log)
		pass(5 * time.Minute)
		n.set(func() { n.cut = 0 })
		pass(5 * time.Minute)
		if h.out.Positions.Files("test", testSession).Entry(log) == before {
			t.Error("the positions still have the log")
		}
		h.stop()
		h.checkKeys()
	})
}

// A log that the writer finishes while a listing has it is not read again.
func TestDirectory_FinishedMeanwhile(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 1, 2)
		n.write(at, fileName(1, job, "out"), ":job_id:%s\nline\n", job)
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(30 * time.Second)
		n.die(at, 1)
		pass(20 * time.Minute)
		d := h.cluster.current.list()[0]
		d.mu.Lock()
		log := "worker-" + workerID(1) + ".out"
		if hash := checkpoint.FileHash(log); !d.stored.IsDone(hash) || d.add(hash, fileName(1, job, "out"), log, time.Now()) != nil {
			t.Error("a finished log was added")
		}
		d.mu.Unlock()
		pass(time.Minute)
		if got := h.messages(); len(got) != 1 {
			t.Errorf("messages %q", got)
		}
	})
}
