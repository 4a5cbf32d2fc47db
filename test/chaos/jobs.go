package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"raytap/ray/raytest"
)

// kind is what happens to a job and its log.
type kind int

const (
	once        kind = iota // it prints and ends
	resubmitted             // its ID is submitted again and appends to the same file
	moved                   // its ID is submitted again on another node
	replaced                // its log is replaced by a longer one
	truncated               // its log is truncated in place: only where every read verifies
	brief                   // it may end before raytap discovers it
	unseen                  // it starts and ends while raytap is down
	deleted                 // it ends and is deleted while raytap is down
	late                    // its children print after its end event is written
	rotated                 // its log is rotated again and again, also while raytap is down
)

// script runs one job. The end of a session ends it early.
type script struct {
	r    *round
	rng  *rand.Rand
	f    *facts
	k    key
	kind kind
	text *text
	job  *raytest.Job
	// texts and runs are copied to the facts at the end.
	texts [][]byte
	runs  []jobRun
}

func (r *round) script(id string, k kind, s style, seed uint64) *script {
	rng := rand.New(rand.NewPCG(seed, 1))
	key := key{r.head.Session(), id}
	return &script{r: r, rng: rng, k: key, f: r.oracle.of(key), kind: k, text: &text{rng: rng, style: s, name: id}}
}

// live runs the script until it or the session ends.
func (s *script) live(ctx context.Context) {
	switch s.kind {
	case brief:
		wait(ctx, time.Duration(s.rng.Int64N(int64(s.r.o.duration))))
		s.submit(nil)
		s.printFor(ctx, time.Duration(s.rng.IntN(30))*time.Millisecond)
		s.end(s.rng.IntN(2) == 0)
	case unseen:
		s.r.whileDown(ctx, func() {
			s.submit(nil)
			for range 1 + s.rng.IntN(20) {
				s.job.Print(s.text.piece(2))
			}
			s.end(s.rng.IntN(2) == 0)
		})
	case rotated:
		s.submit(nil)
		s.printRotated(ctx, s.r.o.duration*5/6)
		if ctx.Err() == nil {
			s.end(s.rng.IntN(2) == 0)
		}
	default:
		s.submit(nil)
		s.printFor(ctx, s.r.o.duration/2)
		s.change(ctx)
	}
	s.publish(ctx.Err() != nil)
}

// change does what the kind of the job requires in the middle of its run.
func (s *script) change(ctx context.Context) {
	switch s.kind {
	case once, late:
		s.printFor(ctx, s.r.o.duration/3)
	case resubmitted, moved:
		awaitEnd := s.rng.IntN(2) == 0
		s.end(!awaitEnd || s.rng.IntN(2) == 0)
		s.r.awaitEvent(ctx, s.k, "start", 1)
		if awaitEnd {
			s.runs[0].seen = s.r.awaitEvent(ctx, s.k, "end", 1)
		}
		if ctx.Err() != nil {
			return
		}
		var node *raytest.Node
		if s.kind == moved {
			s.texts = append(s.texts, s.job.Log())
			node = s.r.head.Nodes()[1]
		}
		s.submit(node)
		s.printFor(ctx, s.r.o.duration/3)
	case replaced, truncated:
		s.r.awaitEvent(ctx, s.k, "start", 1)
		if s.kind == replaced && s.rng.IntN(4) > 0 {
			s.r.whileDown(ctx, s.replace)
		} else if ctx.Err() == nil {
			s.replace()
		}
		s.printFor(ctx, s.r.o.duration/3)
	case deleted:
		s.r.awaitEvent(ctx, s.k, "start", 1)
		s.r.whileDown(ctx, func() {
			s.end(true)
			s.job.Delete()
		})
		return
	}
	if ctx.Err() == nil {
		s.end(s.rng.IntN(2) == 0)
	}
	if s.kind == late && s.r.awaitEvent(ctx, s.k, "end", 1) {
		s.job.Print("\n" + s.text.rest(true) + s.text.rest(s.rng.IntN(2) == 0))
		s.runs[0].late = contentLen(s.job.Log())
	}
}

// submit starts a run.
func (s *script) submit(node *raytest.Node) {
	s.job = s.r.head.Submit(s.k.id, raytest.JobOptions{Node: node})
	s.runs = append(s.runs, jobRun{start: s.job.StartTime(), text: len(s.texts)})
}

// printFor prints for d, with bursts and pauses.
func (s *script) printFor(ctx context.Context, d time.Duration) {
	for until := time.Now().Add(d); time.Now().Before(until) && ctx.Err() == nil; {
		s.job.Print(s.text.piece(1 + s.rng.IntN(12)))
		pause := time.Duration(5+s.rng.IntN(60)) * time.Millisecond
		if s.rng.IntN(20) == 0 {
			pause = 500 * time.Millisecond
		}
		wait(ctx, min(pause, time.Until(until)))
	}
}

// logRotations is how often the log of a rotated job is rotated. raytap looks for as many older
// files, so that none is lost however long it is down.
const logRotations = 18

// printRotated prints for d, and rotates the log at lines and within them, once while raytap is
// down. It is copied and truncated only where each read verifies what is before it: an open
// WebSocket does not.
func (s *script) printRotated(ctx context.Context, d time.Duration) {
	for i := 0; i < logRotations && ctx.Err() == nil; i++ {
		s.printFor(ctx, d/logRotations)
		if i == logRotations/2 {
			s.r.whileDown(ctx, func() { s.rotate(ctx, 0) })
			continue
		}
		s.rotate(ctx, d/logRotations/2)
	}
}

// rotate rotates the log. If it is renamed under the job, that prints for d into the old file.
func (s *script) rotate(ctx context.Context, d time.Duration) {
	switch n := s.rng.IntN(3); {
	case n == 0:
		s.job.MoveLog(logRotations)
		s.printFor(ctx, d)
		s.job.ReopenLog()
	case n == 1 && s.r.o.verifying:
		s.job.CopyTruncateLog(logRotations)
	default:
		s.job.RotateLog(logRotations)
	}
	s.r.env.sum.count(&s.r.env.sum.rotations, 1)
	if s.r.dead.Load() {
		s.r.env.sum.count(&s.r.env.sum.rotationsDown, 1)
	}
}

// replace replaces the content of the log by a longer one, so that its size does not
// reveal the change. A truncated log gets empty.
func (s *script) replace() {
	old := s.job.Log()
	s.texts = append(s.texts, old)
	s.f.mu.Lock()
	s.f.replaced = true
	s.f.mu.Unlock()
	if s.kind == truncated {
		s.text.unprinted = nil
		s.job.TruncateLog()
		return
	}
	var b strings.Builder
	for contentLen([]byte(b.String())) <= contentLen(old)+100 {
		b.WriteString(s.text.line())
	}
	s.text.unprinted = nil
	s.job.ReplaceLog(b.String())
}

// end ends the run. newline: its last line is terminated.
func (s *script) end(newline bool) {
	s.job.Print(s.text.rest(newline))
	r := &s.runs[len(s.runs)-1]
	r.content, r.ended = contentLen(s.job.Output()), true
	exit := 0
	switch s.rng.IntN(4) {
	case 0:
		r.status, exit = "FAILED", 3
	case 1:
		r.status = "STOPPED"
	default:
		r.status = "SUCCEEDED"
	}
	if r.status != "STOPPED" {
		r.exit = &exit
	}
	s.job.End(r.status, exit)
}

// publish copies everything that was printed to the oracle. cut: the session ended
// first.
func (s *script) publish(cut bool) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	if s.job != nil {
		s.texts = append(s.texts, s.job.Output())
	}
	s.f.texts, s.f.runs = s.texts, s.runs
	s.f.deleted = s.kind == deleted
	s.f.lost = s.f.lost || cut || s.kind == deleted && s.r.o.protocol == "websocket"
}

// wait sleeps until d has passed or ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// scripts returns the jobs of one session, with each kind and each style.
func (r *round) scripts(rng *rand.Rand) []*script {
	kinds := []kind{once, once, resubmitted, moved, replaced, brief, brief, unseen, unseen, deleted}
	if r.o.verifying {
		kinds = append(kinds, truncated)
	}
	if r.o.agents == "on" { // nothing else shows the older files
		kinds = append(kinds, rotated, rotated)
	}
	if r.o.late {
		kinds = append(kinds, late, late)
	}
	var all []*script
	for i, k := range kinds {
		s := style((i + int(r.o.seed)) % int(styles))
		if s == invalid && r.o.protocol == "websocket" {
			s = runes // no WebSocket carries them
		}
		all = append(all, r.script(fmt.Sprintf("job-%d", i), k, s, rng.Uint64()))
	}
	return all
}
