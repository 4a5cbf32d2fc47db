package main

import (
	"context"
	"os"
	"time"

	"raytap/ray/raytest"
)

// positionsRemoved removes, renames, truncates and replaces the positions file while
// raytap runs, and kills raytap after it has written the file again: no line is lost
// or duplicated, and each restart succeeds.
func positionsRemoved(ctx context.Context, env environment) (res result, err error) {
	r := newRound(env, options{fsync: "100ms", maxSize: "1MiB", protocol: "auto", agents: "on", interval: 100 * time.Millisecond})
	stop, err := r.start()
	if err != nil {
		return res, err
	}
	defer stop()
	job := &numberedJob{Job: r.head.Submit("running", raytest.JobOptions{})}
	if ok, err := r.startSubject(ctx, &res); !ok {
		return res, err
	}
	file := r.subject.s.positions
	for name, damage := range map[string]func() error{
		"removed":   func() error { return os.Remove(file) },
		"renamed":   func() error { return os.Rename(file, file+".old") },
		"truncated": func() error { return os.Truncate(file, 100) },
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
		job.printLines(ctx, 20)
		if err := damage(); err != nil {
			return res, err
		}
		damaged, _ := os.Stat(file)
		rewritten := func() bool {
			now, err := os.Stat(file)
			_, unreadable := r.subject.saved()
			return err == nil && unreadable == nil && (damaged == nil || !os.SameFile(damaged, now))
		}
		for until := time.Now().Add(10 * time.Second); !rewritten() && time.Now().Before(until) && ctx.Err() == nil; {
			job.printLines(ctx, 1)
		}
		if !rewritten() {
			res.add("the positions file was %s, and raytap does not write it again", name)
		}
		env.sum.count(&env.sum.positionsDamaged, 1)
		job.printLines(ctx, 20)
		if err := r.restart(); err != nil {
			res.add("the positions file was %s", name)
			err = res.absorb(err)
			return res, err
		}
	}
	_, err = r.finishNumbered(ctx, job, &res)
	return res, err
}
