package main

import (
	"context"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// killPoint is when raytap is killed.
type killPoint int

const (
	anyTime      killPoint = iota
	startup                // while it starts
	inRotation             // after the rename of the sink's file, before the next one holds a byte
	unsaved                // after a write, before the positions are saved
	eventPending           // after the save of a pending event, before the event is written
	afterSave              // right after a save
	killPoints             // their number
)

var killPointNames = [...]string{"at any time", "during startup", "inside a rotation", "between write and save", "with a pending event", "right after a save"}

// killer kills raytap repeatedly, at chosen points, and starts it again.
type killer struct {
	r    *round
	rng  *rand.Rand
	w    *watch
	want []killPoint // to choose from at random
	// done counts the kills by point. A kill counts for its point only if the files
	// that the dead process left prove it.
	done [killPoints]int
	torn int // partial records found after a kill
}

// run kills raytap until ctx ends and every waiting job had its downtime. raytap is
// running when run returns.
func (k *killer) run(ctx context.Context) error {
	for ctx.Err() == nil || len(k.r.down) > 0 {
		if err := k.kill(ctx, k.want[k.rng.IntN(len(k.want))]); err != nil {
			return err
		}
		k.r.dead.Store(true)
		k.downtime(ctx)
		if err := k.r.subject.start(); err != nil {
			return err
		}
		k.r.dead.Store(false)
	}
	return nil
}

// downtime calls the functions that wait for raytap to be down.
func (k *killer) downtime(ctx context.Context) {
	if b, err := os.ReadFile(k.r.subject.s.sink); err == nil && len(b) > 0 && b[len(b)-1] != '\n' {
		k.torn++
	}
	if k.rng.IntN(2) == 0 {
		wait(ctx, time.Duration(k.rng.IntN(200))*time.Millisecond)
	}
	for range len(k.r.down) {
		(<-k.r.down)()
	}
}

// killPointTimeout is how long the killer waits for a point.
const killPointTimeout = 3 * time.Second

func (k *killer) kill(ctx context.Context, p killPoint) error {
	s := k.r.subject
	if p == startup {
		wait(ctx, time.Duration(k.rng.IntN(60))*time.Millisecond)
	} else {
		wait(ctx, time.Duration(150+k.rng.IntN(700))*time.Millisecond)
	}
	if p != anyTime && p != startup && !k.await(ctx, p) {
		p = anyTime
	}
	if err := s.kill(); err != nil {
		return err
	}
	if p != anyTime && p != startup && !k.at(p) {
		p = anyTime // raytap made one more step
	}
	k.done[p]++
	return nil
}

// await freezes raytap at a point; false: raytap did not reach it in time.
func (k *killer) await(ctx context.Context, p killPoint) bool {
	k.w.drain()
	name, kind := positionsName, uint32(unix.IN_MODIFY)
	switch p {
	case inRotation:
		name, kind = rotatedName, unix.IN_MOVED_TO
	case unsaved:
		name = currentName
	}
	for until := time.Now().Add(killPointTimeout); time.Now().Before(until) && ctx.Err() == nil; {
		if !k.w.next(name, kind, 100*time.Millisecond) || !k.r.subject.freeze() {
			continue
		}
		if k.at(p) {
			return true
		}
		k.r.subject.thaw()
		k.w.drain()
	}
	return false
}

// at reports whether the files show that the frozen or dead process is at a point.
func (k *killer) at(p killPoint) bool {
	v, err := k.r.subject.saved()
	if err != nil {
		return false
	}
	rotated := rotations(k.r.subject.s.sink)
	size := k.r.subject.size()
	switch p {
	case inRotation:
		return rotated == v.Sink.Number && size <= 0
	case unsaved:
		return rotated < v.Sink.Number && size > v.Sink.Offset
	case eventPending:
		return v.hasPendingEvents() && rotated < v.Sink.Number && size == v.Sink.Offset
	case afterSave:
		return rotated < v.Sink.Number && size == v.Sink.Offset
	}
	return true
}
