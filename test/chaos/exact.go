package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	exactJobs  = 6 // print for as long as the round does harm
	exactBrief = 3 // come and go meanwhile
	// longest is what a round waits for at most, for each thing.
	longest = 20 * time.Second
)

// exact runs jobs while harm is done to the files, without faults of the network,
// and then holds what is in them against all that was printed. harm adds to the
// verdict what raytap did wrong; its error is the harness's own.
func (r *round) exact(ctx context.Context, harm func(ctx context.Context, v *verdict) error) (v verdict, err error) {
	r.oracle, r.seen, r.down = newOracle(), map[key]map[string]int{}, make(chan func(), 64)
	r.o.protocol, r.o.agents, r.o.fsync, r.o.duration = "auto", "on", "100ms", 3*time.Second
	stop, err := r.start()
	if err != nil {
		return v, err
	}
	defer stop()
	r.subject.s.sink, _ = paths(filepath.Join(r.dir, "sink"))
	if err := os.Mkdir(filepath.Dir(r.subject.s.sink), 0o755); err != nil {
		return v, err
	}
	if err := r.subject.start(); err != nil {
		return v, err
	}
	if !r.awaitSeen(ctx) {
		v.add("the cluster was never seen")
		return v, ctx.Err()
	}
	looking, stopLooking := context.WithCancel(ctx)
	defer stopLooking()
	go r.watchEvents(looking)

	rng := rand.New(rand.NewPCG(r.o.seed, 0))
	over := make(chan struct{})
	var jobs sync.WaitGroup
	for i := range exactJobs + exactBrief {
		s := r.script(fmt.Sprintf("job-%d", i), once, style((i+int(r.o.seed))%int(styles)), rng.Uint64())
		if i < exactJobs {
			jobs.Go(func() { s.liveUntil(ctx, over) })
			r.long = append(r.long, s.k)
		} else {
			s.kind = brief
			jobs.Go(func() { s.live(ctx) })
		}
	}
	for _, k := range r.long {
		if !r.awaitSome(ctx, k, "start", 1) {
			v.add("%s: no start event", k)
		}
	}
	err = harm(ctx, &v)
	close(over)
	jobs.Wait()
	if err != nil {
		if errors.Is(err, errEnded) || errors.Is(err, errStalled) {
			v.add("%v", err)
			err = nil
		}
		return v, err
	}
	if missing := r.awaitEnds(ctx); len(missing) > 0 {
		v.add("no end event within a minute of quiet: %s", strings.Join(missing, ", "))
	}
	if err := r.subject.stop(); err != nil {
		v.add("%v", err)
	}
	r.judge(ctx, &v)
	return v, ctx.Err()
}

// liveUntil prints until over is closed, and ends then.
func (s *script) liveUntil(ctx context.Context, over <-chan struct{}) {
	s.submit(nil)
	for open := true; open && ctx.Err() == nil; {
		s.printFor(ctx, 100*time.Millisecond)
		select {
		case <-over:
			open = false
		default:
		}
	}
	s.end(s.rng.IntN(2) == 0)
	s.publish(ctx.Err() != nil)
}

// awaitSome is await, for the longest time at most.
func (r *round) awaitSome(ctx context.Context, k key, event string, n int) bool {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	return r.await(ctx, k, event, n)
}

var errStalled = errors.New("the subject does not ship")

// stillBehind freezes the subject, with all its threads, when records of jobs that
// print on are in its file that the saved positions do not count yet, and gives these positions and
// what is in the file. It stays frozen.
func (r *round) stillBehind(ctx context.Context) (v saved, b []byte, err error) {
	for until := time.Now().Add(longest); time.Now().Before(until) && ctx.Err() == nil; wait(ctx, 20*time.Millisecond) {
		if !r.subject.freeze() {
			return v, nil, fmt.Errorf("the subject is no more: %w", errEnded)
		}
		r.subject.allStopped()
		v, err = r.subject.saved()
		if err == nil && rotations(r.subject.s.sink) < v.Sink.Number {
			b, err = os.ReadFile(r.subject.s.sink)
			if err == nil && int64(len(b)) > v.Sink.Offset && b[len(b)-1] == '\n' && r.hasLong(b[v.Sink.Offset:]) {
				return v, b, nil
			}
		}
		r.subject.thaw()
	}
	return v, nil, errors.Join(fmt.Errorf("%w: its file never holds more than the positions count", errStalled), err, ctx.Err())
}

// hasLong reports whether a record of a job that prints on is in b.
func (r *round) hasLong(b []byte) bool {
	for line := range bytes.Lines(b) {
		if id := idOf(line); slices.Contains(r.long, key{id.Session, id.SubmissionID}) {
			return true
		}
	}
	return false
}

// allStopped waits until no thread of a frozen subject is within a call any more.
func (s *subject) allStopped() {
	for {
		all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.cmd.Process.Pid))
		running := 0
		for _, stat := range all {
			b, rerr := os.ReadFile(stat)
			if i := strings.LastIndexByte(string(b), ')'); rerr == nil && strings.IndexByte("TZX", b[i+2]) < 0 {
				running++
			}
		}
		if err != nil || running == 0 {
			return
		}
	}
}

// again kills the subject and starts it, and waits until it runs.
func (r *round) again(sum *totals) error {
	if err := r.subject.kill(); err != nil {
		return err
	}
	sum.killedAnywhere()
	if err := r.subject.start(); err != nil {
		return err
	}
	if err := r.subject.running(); err != nil {
		return fmt.Errorf("%w: %w", errEnded, err)
	}
	return nil
}
