package nodelogs

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// An older generation is deleted behind a partial line: a gap, and the log goes on.
func TestCluster_DeletedBehindAPartialLine(t *testing.T) {
	for _, restart := range []bool{false, true} {
		inBubble(t, func(t *testing.T, n *nodes, dir string) {
			at := n.add(nil)
			n.live(at, 1)
			out := fileName(1, job, "out")
			n.write(at, out, ":job_id:%s\nfirst\nhal", job)
			h := start(t, n, dir, Options{})
			h.cluster.Observe(testSession, submitted)
			pass(time.Minute)
			n.rotate(at, out, 5)
			n.write(at, out, "f a line\nlost\n")
			n.rotate(at, out, 5)
			n.write(at, out, "later\n")
			n.set(func() { delete(at.files, out+".1") })
			pass(time.Minute)
			if restart {
				h.stop()
				h = start(t, n, dir, Options{})
				h.cluster.Observe(testSession, submitted)
				pass(time.Minute)
			}
			n.write(at, out, "last\n")
			pass(2 * time.Minute)
			h.stop()
			h.checkKeys()
			if got := h.messages(); !slices.Equal(got, []string{"first", "later", "last"}) {
				t.Errorf("shipped %q", got)
			}
			if gaps := h.events("gap"); len(gaps) != 1 {
				t.Errorf("gaps: %s", fmt.Sprint(gaps))
			}
		})
	}
}
