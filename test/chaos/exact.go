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
	exactJobs  = 6 // print until the damage is done
	exactBrief = 3 // start and end meanwhile
	// longest is the longest wait for each step of a round.
	longest = 20 * time.Second
)

// exact runs jobs, without network faults, while damage changes raytap's files, and
// then compares the sink with everything that was printed. damage adds to the result
// what raytap did wrong; its error is the harness's own.
func (r *round) exact(ctx context.Context, damage func(ctx context.Context, res *result) error) (res result, err error) {
	r.o.protocol, r.o.agents, r.o.fsync, r.o.duration = "auto", "on", "100ms", 3*time.Second
	stop, err := r.start()
	if err != nil {
		return res, err
	}
	defer stop()
	r.subject.s.sink, _ = paths(filepath.Join(r.env.dir, "sink"))
	if err := os.Mkdir(filepath.Dir(r.subject.s.sink), 0o755); err != nil {
		return res, err
	}
	if ok, err := r.startSubject(ctx, &res); !ok {
		return res, err
	}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	go r.watchEvents(watching)

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
		if !r.awaitEventFor(ctx, k, "start", 1) {
			res.add("%s: no start event", k)
		}
	}
	err = damage(ctx, &res)
	close(over)
	jobs.Wait()
	if err != nil {
		err = res.absorb(err)
		return res, err
	}
	r.finish(ctx, &res)
	return res, ctx.Err()
}

// liveUntil prints until over is closed, and then ends the job.
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

// awaitEventFor is awaitEvent with a timeout.
func (r *round) awaitEventFor(ctx context.Context, k key, event string, n int) bool {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	return r.awaitEvent(ctx, k, event, n)
}

var errStalled = errors.New("raytap does not ship")

// freezeUnsaved freezes raytap when its file has records of running jobs that the
// saved positions do not count yet. It returns these positions and the content of the
// file. raytap stays frozen.
func (r *round) freezeUnsaved(ctx context.Context) (v saved, b []byte, err error) {
	for until := time.Now().Add(longest); time.Now().Before(until) && ctx.Err() == nil; wait(ctx, 20*time.Millisecond) {
		if !r.subject.freeze() {
			return v, nil, fmt.Errorf("raytap exited: %w", errExited)
		}
		r.subject.awaitThreadsStopped()
		v, err = r.subject.saved()
		if err == nil && rotations(r.subject.s.sink) < v.Sink.Number {
			b, err = os.ReadFile(r.subject.s.sink)
			if err == nil && int64(len(b)) > v.Sink.Offset && b[len(b)-1] == '\n' && r.hasRunning(b[v.Sink.Offset:]) {
				return v, b, nil
			}
		}
		r.subject.thaw()
	}
	return v, nil, errors.Join(fmt.Errorf("%w: its file never has more than the positions count", errStalled), err, ctx.Err())
}

// hasRunning reports whether b contains a record of a running job.
func (r *round) hasRunning(b []byte) bool {
	for line := range bytes.Lines(b) {
		if id := idOf(line); slices.Contains(r.long, key{id.Session, id.SubmissionID}) {
			return true
		}
	}
	return false
}

// awaitThreadsStopped waits until no thread of a frozen process is in a system call.
func (s *subject) awaitThreadsStopped() {
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
