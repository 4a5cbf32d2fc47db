package main

import (
	"context"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// moment is when a subject is killed.
type moment int

const (
	anywhere   moment = iota
	young             // while it starts
	inRotation        // behind the rename of the sink's file, before the next one holds a byte
	unsaved           // behind a write, before the positions are saved
	owing             // behind the save of what is owed, before that is written
	afterSave         // right behind a save
	moments
)

var momentNames = [...]string{"anywhere", "young", "inside a rotation", "between write and save", "owing an event", "right after a save"}

// killer kills the subject again and again, at chosen moments, and starts it anew.
type killer struct {
	r    *round
	rng  *rand.Rand
	w    *watch
	want []moment // drawn from
	// done counts the kills by moment; a moment counts only where the files
	// that the dead left prove it.
	done [moments]int
	torn int // half records found behind a kill
}

// run kills until ctx ends and every job had its downtime. The subject is alive
// when it returns.
func (k *killer) run(ctx context.Context) error {
	for ctx.Err() == nil || len(k.r.down) > 0 {
		if err := k.kill(ctx, k.want[k.rng.IntN(len(k.want))]); err != nil {
			return err
		}
		k.downtime(ctx)
		if err := k.r.subject.start(); err != nil {
			return err
		}
	}
	return nil
}

// downtime lets those act who waited for it.
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

// patience is how long a moment is waited for.
const patience = 3 * time.Second

func (k *killer) kill(ctx context.Context, m moment) error {
	s := k.r.subject
	if m == young {
		wait(ctx, time.Duration(k.rng.IntN(60))*time.Millisecond)
	} else {
		wait(ctx, time.Duration(150+k.rng.IntN(700))*time.Millisecond)
	}
	if m != anywhere && m != young && !k.await(ctx, m) {
		m = anywhere
	}
	if err := s.kill(); err != nil {
		return err
	}
	if m != anywhere && m != young && !k.at(m) {
		m = anywhere // it did one thing more
	}
	k.done[m]++
	return nil
}

// await freezes the subject at a moment; false: that did not come.
func (k *killer) await(ctx context.Context, m moment) bool {
	k.w.drain()
	name, kind := positionsName, uint32(unix.IN_MODIFY)
	switch m {
	case inRotation:
		name, kind = rotatedName, unix.IN_MOVED_TO
	case unsaved:
		name = currentName
	}
	for until := time.Now().Add(patience); time.Now().Before(until) && ctx.Err() == nil; {
		if !k.w.next(name, kind, 100*time.Millisecond) || !k.r.subject.freeze() {
			continue
		}
		if k.at(m) {
			return true
		}
		k.r.subject.thaw()
		k.w.drain()
	}
	return false
}

// at reports whether the files that a frozen or dead subject has left are those
// of the moment.
func (k *killer) at(m moment) bool {
	v, err := k.r.subject.saved()
	if err != nil {
		return false
	}
	rotated := rotations(k.r.subject.s.sink)
	size := k.r.subject.size()
	switch m {
	case inRotation:
		return rotated == v.Sink.Number && size <= 0
	case unsaved:
		return rotated < v.Sink.Number && size > v.Sink.Offset
	case owing:
		return v.owes() && rotated < v.Sink.Number && size == v.Sink.Offset
	case afterSave:
		return rotated < v.Sink.Number && size == v.Sink.Offset
	}
	return true
}
