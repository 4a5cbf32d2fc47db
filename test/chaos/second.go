package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"raytap/shipper/checkpoint"
)

// second starts a second raytap on the files of one that is running or frozen, while
// a cleaner removes all files named *.lock: each second raytap exits by itself with a
// message and a code other than 0, and the files of the first one stay correct, also
// after a kill.
func second(ctx context.Context, env environment) (result, error) {
	r := newRound(env, options{seed: env.seed, maxSize: "64KiB", interval: 200 * time.Millisecond})
	return r.exact(ctx, func(ctx context.Context, res *result) error {
		cleaning, stop := context.WithCancel(ctx)
		defer stop()
		go func() {
			for ; cleaning.Err() == nil; wait(cleaning, 5*time.Millisecond) {
				removeLocks(env.dir)
			}
		}()
		own := r.subject.s
		otherSink, otherPositions := paths(env.dir)
		if err := r.copyPositions(ctx, otherPositions); err != nil {
			return err
		}
		for _, c := range []struct {
			what            string
			sink, positions string
			frozen          bool
		}{
			{"both files", own.sink, own.positions, false},
			{"the sink file", own.sink, otherPositions, false},
			{"the positions", otherSink, own.positions, false},
			{"both files of a frozen raytap", own.sink, own.positions, true},
		} {
			s := own
			s.sink, s.positions = c.sink, c.positions
			if c.frozen && !r.subject.freeze() {
				return fmt.Errorf("raytap exited: %w", errExited)
			}
			removeLocks(env.dir)
			wrong, err := startSecond(ctx, env, s)
			if c.frozen {
				r.subject.thaw()
			}
			if err != nil {
				return err
			}
			if wrong != "" {
				res.add("a second raytap on %s: %s", c.what, wrong)
			}
			if err := r.restart(); err != nil { // fails if the first one does not run any more
				return fmt.Errorf("a second raytap on %s: %w", c.what, err)
			}
			env.sum.count(&env.sum.secondProcesses, 1)
		}
		return nil
	})
}

// copyPositions copies raytap's positions, so that a second raytap with the copy
// conflicts with the first one over the sink file only.
func (r *round) copyPositions(ctx context.Context, to string) error {
	for until := time.Now().Add(longest); ; wait(ctx, 10*time.Millisecond) {
		b, err := os.ReadFile(r.subject.s.positions)
		if err == nil {
			err = os.WriteFile(to, b, 0o600)
		}
		if err == nil {
			_, err = checkpoint.Read(to) // it may have been copied during a save
		}
		if err == nil || time.Now().After(until) || ctx.Err() != nil {
			return err
		}
	}
}

// removeLocks removes the files named *.lock.
func removeLocks(dir string) {
	for _, at := range []string{"*.lock", "*/*.lock"} {
		names, _ := filepath.Glob(filepath.Join(dir, at)) // the pattern is valid
		for _, name := range names {
			_ = os.Remove(name)
		}
	}
}

// startSecond runs a raytap that must refuse to start, and returns what it did wrong.
func startSecond(ctx context.Context, env environment, s settings) (wrong string, err error) {
	config := filepath.Join(env.dir, "second.yaml")
	if err := s.write(config); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	cmd := exec.CommandContext(ctx, env.binary, "--config.file", config)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return fmt.Sprintf("it exits with code 0: %.300q", out.Bytes()), nil
	case !errors.As(err, &exit):
		return "", err
	case !exit.Exited():
		return fmt.Sprintf("it does not exit by itself (%v): %.300q", err, out.Bytes()), nil
	case !bytes.Contains(out.Bytes(), []byte("in use")):
		return fmt.Sprintf("it does not report why it exits (%v): %.300q", err, out.Bytes()), nil
	}
	return "", nil
}
