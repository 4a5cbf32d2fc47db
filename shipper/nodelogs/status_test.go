package nodelogs

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"raytap/ray"
	"raytap/shipper/writer"
)

// brokenFiles are nodes whose agents return an error for some files, or do not answer.
type brokenFiles struct {
	*nodes
	broken atomic.Pointer[string] // a part of their names; nil: none is broken
	silent atomic.Bool            // no agent answers
}

func (b *brokenFiles) check(name string) error {
	if b.silent.Load() {
		return &ray.Error{Op: "read from node agent", Code: 503, Err: errors.New("no route to host")}
	}
	if part := b.broken.Load(); part != nil && strings.Contains(name, *part) {
		return &ray.Error{Op: "read from node agent", Code: 500, Status: 500, Detail: "the disk is gone"}
	}
	return nil
}

func (b *brokenFiles) AgentFileIndex(ctx context.Context, agent, dir string) (ray.FileIndex, error) {
	if b.silent.Load() {
		return ray.FileIndex{}, b.check("")
	}
	return b.nodes.AgentFileIndex(ctx, agent, dir)
}

func (b *brokenFiles) AgentFileStat(ctx context.Context, agent, name string) (ray.FileStat, error) {
	if err := b.check(name); err != nil {
		return ray.FileStat{}, err
	}
	return b.nodes.AgentFileStat(ctx, agent, name)
}

func (b *brokenFiles) AgentFile(ctx context.Context, agent, name string, from, to int64) (ray.FilePart, error) {
	if err := b.check(name); err != nil {
		return ray.FilePart{}, err
	}
	return b.nodes.AgentFile(ctx, agent, name, from, to)
}

// watch runs a Cluster whose lines are discarded, while do runs.
func watch(t *testing.T, client Client, do func(c *Cluster)) {
	t.Helper()
	out := writer.New(discard{}, writer.Options{})
	c := New(client, out, Options{Cluster: "test", Backfill: BackfillAll})
	c.Observe(testSession, submitted)
	ctx, cancel := context.WithCancel(t.Context())
	outCtx, cancelOut := context.WithCancel(t.Context())
	ended, outEnded := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); c.Run(ctx) }()
	go func() { defer close(outEnded); _ = out.Run(outCtx) }()
	do(c)
	cancel()
	<-ended
	cancelOut()
	<-outEnded
}

// The status names the logs that an agent refuses, with the reason, at most maxFailing of a
// directory, until they can be read again.
func TestStats_FailingLogs(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, _ string) {
		at := n.add(nil)
		for i := range 20 {
			n.live(at, i)
			n.write(at, fileName(i, job, "out"), ":job_id:%s\nline\n", job)
		}
		client := &brokenFiles{nodes: n}
		client.broken.Store(new(".out"))
		watch(t, client, func(c *Cluster) {
			began := time.Now()
			pass(5 * time.Minute)
			n.write(at, fileName(50, job, "err"), ":job_id:%s\nline\n", job)
			pass(15 * time.Second)
			if n := c.out.Records(); n != 1 {
				t.Errorf("%d records of a new log that can be read, want 1 within 15 s", n)
			}
			pass(30 * time.Minute)
			dir := c.Stats().Directories[0]
			if dir.Failing != 20 || len(dir.FailingLogs) != maxFailing || !strings.Contains(dir.FailingLogs[0].Error, "the disk is gone") {
				t.Fatalf("got %d failing logs, %d of them named: %+v", dir.Failing, len(dir.FailingLogs), dir.FailingLogs)
			}
			if since := dir.FailingLogs[0].Since.Sub(began); since > time.Minute {
				t.Errorf("the first one fails since %s after the start", since)
			}
			if !strings.Contains(dir.Oldest, ".out") || time.Since(dir.OldestLook) < 20*time.Minute {
				t.Errorf("the oldest look is that at %s, %s ago", dir.Oldest, time.Since(dir.OldestLook))
			}
			client.broken.Store(nil)
			pass(10 * time.Minute)
			if dir := c.Stats().Directories[0]; dir.Failing != 0 || dir.Error != "" || time.Since(dir.OldestLook) > 2*time.Minute {
				t.Errorf("after the end of the failure: %+v", dir)
			}
		})
	})
}

// A node whose agent does not answer has its error in the status, whether its directory is
// known or not.
func TestStats_UnreachableNodes(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, _ string) {
		known := n.add(nil)
		n.live(known, 1)
		n.write(known, fileName(1, job, "out"), ":job_id:%s\nline\n", job)
		client := &brokenFiles{nodes: n}
		watch(t, client, func(c *Cluster) {
			pass(time.Minute)
			if got := c.Stats().Directories; len(got) != 1 || got[0].Error != "" || got[0].Sources[SourceWorker]["live"] != 1 {
				t.Fatalf("got %+v", got)
			}
			unknown := n.add(nil)
			client.silent.Store(true)
			pass(2 * time.Minute)
			got := c.Stats().Directories
			if len(got) != 2 || got[0].Error == "" || got[0].Failing != 0 || got[1].Node != unknown.NodeID || got[1].Error == "" {
				t.Errorf("got %+v", got)
			}
			n.set(func() { unknown.State = ray.NodeDead })
			pass(2 * time.Minute)
			if got := c.Stats().Directories; len(got) != 1 {
				t.Errorf("a dead node is in the status: %+v", got)
			}
		})
	})
}
