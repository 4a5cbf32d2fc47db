package nodelogs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/writer"
)

// With standard output as the sink, a killed process repeats what it wrote after its last
// save. No line is lost, and what comes again is the same but for its time.
func TestCluster_StdoutKilled(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		rnd := rand.New(rand.NewPCG(7, 7))
		at := n.add(nil)
		const workers = 6
		for i := range workers {
			n.live(at, i)
			n.write(at, fileName(i, job, "out"), ":job_id:%s\n", job)
		}
		n.live(at, workers)
		n.replicas = map[string]string{workerID(1): "b87g44hy"}
		n.write(at, fileName(1, job, "out"), ":actor_name:ServeReplica:shop:Hello\n")
		g := &gate{open: make(chan struct{})}
		close(g.open)
		file, printed := filepath.Join(dir, "positions"), 0
		print := func() {
			for i := range workers {
				n.write(at, fileName(i, job, "out"), ":task_name:t%d\nline %d\n", printed, printed)
				if printed++; rnd.IntN(9) == 0 {
					n.rotate(at, fileName(i, job, "out"), 10)
				}
			}
			pass(time.Duration(rnd.IntN(900)) * time.Millisecond)
		}
		for range 6 {
			positions, err := checkpoint.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			out := writer.New(g, writer.Options{Positions: positions})
			c := New(n, out, Options{Cluster: "test"})
			c.Observe(testSession, submitted)
			ctx, cancel := context.WithCancel(t.Context())
			outCtx, cancelOut := context.WithCancel(t.Context())
			ended, outEnded := make(chan struct{}), make(chan struct{})
			go func() { defer close(ended); c.Run(ctx) }()
			go func() { defer close(outEnded); _ = out.Run(outCtx) }()
			for range 30 + rnd.IntN(20) {
				print()
			}
			saved, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for range rnd.IntN(4) {
				print()
			}
			n.die(at, rnd.IntN(workers))
			cancel()
			<-ended
			cancelOut()
			<-outEnded
			positions.Close()
			if err := os.WriteFile(file, saved, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		lines, records, again := filepath.Join(dir, "lines.jsonl"), map[string]jsonRecord{}, 0
		if err := os.WriteFile(lines, g.buf.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		messages := map[string]string{}
		for _, r := range readRecords(t, lines) {
			r.Complete = nil
			key := fmt.Sprint(r.Log, r.Epoch, r.Seq, r.Event)
			if first, ok := records[key]; ok {
				if again++; first != r {
					t.Errorf("again, but not the same:\n%+v\n%+v", first, r)
				}
			}
			records[key] = r
			if k, ok := messages[r.Message]; ok && k != key && r.Event == "" {
				t.Errorf("%s has two keys: %s and %s", r.Message, k, key)
			}
			messages[r.Message] = key
			if want := map[bool]string{true: "b87g44hy"}[r.WorkerID == workerID(1)]; r.Replica != want {
				t.Errorf("replica %q, want %q: %+v", r.Replica, want, r)
			}
		}
		if again == 0 {
			t.Error("nothing came again: no process was killed between its saves")
		}
		// The last process may have been killed before it had read its last lines.
		for i := range printed - 5*workers {
			if _, ok := messages[fmt.Sprintf("line %d", i)]; !ok {
				t.Fatalf("line %d of %d is missing", i, printed)
			}
		}
	})
}
