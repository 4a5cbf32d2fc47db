package nodelogs

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// snapshot is the files of a process at one moment.
type snapshot struct{ positions, lines []byte }

func take(t *testing.T, dir string) (s snapshot) {
	t.Helper()
	var err error
	if s.positions, err = os.ReadFile(filepath.Join(dir, "positions")); err == nil {
		s.lines, err = os.ReadFile(filepath.Join(dir, "lines.jsonl"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// restore writes a snapshot over what is there, as the same files.
func (s snapshot) restore(t *testing.T, dir string) {
	t.Helper()
	for name, b := range map[string][]byte{"positions": s.positions, "lines.jsonl": s.lines} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A process that is killed at any moment, its last record torn, ships each line once, and
// writes each event once. Lines that are joined come in one record, or in two.
func TestCluster_Killed(t *testing.T) {
	for seed, o := range []Options{{}, multiline} {
		inBubble(t, func(t *testing.T, n *nodes, dir string) {
			rnd := rand.New(rand.NewPCG(uint64(seed), 9))
			at := n.add(nil)
			const workers = 12
			for i := range workers {
				n.live(at, i)
				n.write(at, fileName(i, job, "out"), ":job_id:%s\n", job)
			}
			h := start(t, n, dir, o)
			h.cluster.Observe(testSession, submitted)
			written := 0
			print := func() {
				for i := range workers {
					if i == 5 && written > 1500 {
						continue // it is dead
					}
					for range rnd.IntN(4) {
						if o.Aggregate.Multiline && rnd.IntN(4) > 0 {
							n.write(at, fileName(i, job, "out"), "  line %d\n", written)
						} else {
							n.write(at, fileName(i, job, "out"), "line %d\n:task_name:t%d\n", written, written)
						}
						written++
					}
					if i%3 == 0 && rnd.IntN(6) == 0 {
						n.rotate(at, fileName(i, job, "out"), 10)
					}
				}
			}
			for range 8 {
				for range 10 + rnd.IntN(30) {
					print()
					pass(time.Duration(rnd.IntN(1500)) * time.Millisecond)
				}
				if written > 1500 {
					n.die(at, 5)
				}
				before := take(t, dir)
				for range 1 + rnd.IntN(4) {
					print()
					pass(time.Duration(rnd.IntN(700)) * time.Millisecond)
				}
				after := take(t, dir)
				h.stop()
				// The positions are of a moment before what the sink has, which is torn.
				before.lines = after.lines[:len(before.lines)+rnd.IntN(len(after.lines)-len(before.lines)+1)]
				before.restore(t, dir)
				h = start(t, n, dir, o)
				h.cluster.Observe(testSession, submitted)
			}
			pass(5 * time.Minute)
			h.stop()
			h.checkKeys()
			got := map[string]int{}
			for _, m := range h.messages() {
				for l := range strings.SplitSeq(m, "\n") {
					got[strings.TrimSpace(l)]++
				}
			}
			for i := range written {
				if c := got[fmt.Sprintf("line %d", i)]; c != 1 {
					t.Fatalf("seed %d: line %d of %d: %d times", seed, i, written, c)
				}
			}
			if gaps := h.events("gap"); len(gaps) > 0 {
				t.Errorf("seed %d: gaps %+v", seed, gaps)
			}
			if ends := h.events("end"); len(ends) != 1 {
				t.Errorf("seed %d: %d ends", seed, len(ends))
			}
		})
	}
}
