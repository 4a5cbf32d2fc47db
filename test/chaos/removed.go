package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"raytap/ray/raytest"
)

// removed is a positions file that others remove, rename, cut and replace while
// raytap runs, each followed by a kill once raytap has written it again: no line
// is lost or doubled, and no start is refused.
func removed(ctx context.Context, binary, dir string, sum *totals) (v verdict, err error) {
	r := &round{dir: dir, binary: binary, oracle: newOracle(), o: options{fsync: "100ms", maxSize: "1MiB", protocol: "auto", agents: "on", interval: 100 * time.Millisecond}}
	stop, err := r.start()
	if err != nil {
		return v, err
	}
	defer stop()
	job := r.head.Submit("running", raytest.JobOptions{})
	if err := r.subject.start(); err != nil {
		return v, err
	}
	if !r.awaitSeen(ctx) {
		v.add("the cluster was never seen")
		return v, ctx.Err()
	}
	file, printed := r.subject.s.positions, 0
	print := func() {
		job.Printf("line %d of a job that runs\n", printed)
		printed++
		wait(ctx, 10*time.Millisecond)
	}
	for name, harm := range map[string]func() error{
		"removed": func() error { return os.Remove(file) },
		"renamed": func() error { return os.Rename(file, file+".old") },
		"cut":     func() error { return os.Truncate(file, 100) },
		"replaced": func() error {
			b, err := os.ReadFile(file)
			if err == nil {
				err = os.WriteFile(file+".copy", b, 0o600)
			}
			if err == nil {
				err = os.Rename(file+".copy", file)
			}
			return err
		},
	} {
		for range 20 {
			print()
		}
		if err := harm(); err != nil {
			return v, err
		}
		was, _ := os.Stat(file)
		again := func() bool {
			now, err := os.Stat(file)
			_, unread := r.subject.saved()
			return err == nil && unread == nil && (was == nil || !os.SameFile(was, now))
		}
		for until := time.Now().Add(10 * time.Second); !again() && time.Now().Before(until) && ctx.Err() == nil; {
			print()
		}
		if !again() {
			v.add("the positions file was %s and is not written again", name)
		}
		sum.harm()
		for range 20 {
			print()
		}
		if err := r.subject.kill(); err != nil {
			v.add("the positions file was %s: %v", name, err)
			return v, nil
		}
		sum.killedAnywhere()
		if err := r.subject.start(); err != nil {
			return v, err
		}
		if err := r.subject.running(); err != nil {
			v.add("the positions file was %s: %v", name, err)
			return v, nil
		}
	}
	job.End("SUCCEEDED", 0)
	end := []byte(`"event":"end"`)
	var b []byte
	for until := time.Now().Add(20 * time.Second); !bytes.Contains(b, end) && time.Now().Before(until) && ctx.Err() == nil; wait(ctx, 50*time.Millisecond) {
		b, _ = readSink(r.subject.s.sink) // the file is there: lines are in it
	}
	if err := r.subject.stop(); err != nil {
		v.add("%v", err)
	}
	if b, err = readSink(r.subject.s.sink); err != nil {
		return v, err
	}
	for i := range printed {
		v.lines++
		switch n := bytes.Count(b, fmt.Appendf(nil, `"message":"line %d of a job that runs"`, i)); {
		case n == 0:
			v.lost++
		case n > 1:
			v.doubled += n - 1
		}
	}
	if n := bytes.Count(b, end); n != 1 || v.lost+v.doubled > 0 {
		v.add("%d lines lost, %d doubled, %d end events", v.lost, v.doubled, n)
	}
	return v, nil
}
