package nodelogs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Logs that were quiet for long have new lines in the record within a second of a drain's
// begin, a log that is new has its first ones; and each log has an end with the reason.
func TestDrain_QuietLogsAreRead(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		const workers = 100
		for i := 1; i <= workers; i++ {
			n.live(at, i)
			n.write(at, fileName(i, job, "out"), ":job_id:%s\nfirst of %d\n", job, i)
		}
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(30 * time.Minute)
		for i := 1; i <= workers; i++ {
			n.write(at, fileName(i, job, "out"), "last of %d\n", i)
		}
		n.write(at, fileName(workers+1, job, "out"), ":job_id:%s\nlast of %d\n", job, workers+1)
		h.cluster.Drain()
		pass(time.Second)
		n.set(func() { n.down = true })
		h.cluster.End(t.Context(), errors.New("the cluster was deleted"))
		h.stop()
		h.checkKeys()
		got := h.messages()
		for i := 1; i <= workers+1; i++ {
			if !slices.Contains(got, fmt.Sprintf("last of %d", i)) {
				t.Errorf("worker %d: its last line is not there", i)
			}
		}
		ends := 0
		for _, r := range h.records() {
			if r.Event == "end" && strings.Contains(r.Message, "the cluster was deleted") {
				ends++
			}
		}
		if ends != workers+1 {
			t.Errorf("%d logs have an end, want %d", ends, workers+1)
		}
	})
}
