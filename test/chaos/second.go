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

	"raytap/shipper"
)

// second starts a second raytap on the files of one that runs, or is frozen, again
// and again, while a cleaner removes every name that ends with .lock: each ends by
// itself with a code that is not 0 and a message, and the first one's files stay
// exact, also where that is killed between.
func second(ctx context.Context, binary, dir string, seed uint64, sum *totals) (verdict, error) {
	r := &round{dir: dir, binary: binary, o: options{seed: seed, maxSize: "64KiB", interval: 200 * time.Millisecond}}
	return r.exact(ctx, func(ctx context.Context, v *verdict) error {
		cleaning, stop := context.WithCancel(ctx)
		defer stop()
		go func() {
			for ; cleaning.Err() == nil; wait(cleaning, 5*time.Millisecond) {
				clean(dir)
			}
		}()
		mine := r.subject.s
		otherSink, otherPositions := paths(dir)
		if err := r.copyPositions(ctx, otherPositions); err != nil {
			return err
		}
		for _, c := range []struct {
			what            string
			sink, positions string
			frozen          bool
		}{
			{"both files", mine.sink, mine.positions, false},
			{"the sink's file", mine.sink, otherPositions, false},
			{"the positions", otherSink, mine.positions, false},
			{"both files of one that is frozen", mine.sink, mine.positions, true},
		} {
			s := mine
			s.sink, s.positions = c.sink, c.positions
			if c.frozen && !r.subject.freeze() {
				return fmt.Errorf("the subject is no more: %w", errEnded)
			}
			clean(dir)
			said, err := startSecond(ctx, binary, dir, s)
			if c.frozen {
				r.subject.thaw()
			}
			if err != nil {
				return err
			}
			if said != "" {
				v.add("a second raytap on %s: %s", c.what, said)
			}
			if err := r.again(sum); err != nil { // and so the first one ran until now
				return fmt.Errorf("a second raytap on %s: %w", c.what, err)
			}
			sum.second()
		}
		return nil
	})
}

// copyPositions copies the subject's positions, so that all that is in the way of a
// raytap which has the copy is the sink's file.
func (r *round) copyPositions(ctx context.Context, to string) error {
	for until := time.Now().Add(longest); ; wait(ctx, 10*time.Millisecond) {
		b, err := os.ReadFile(r.subject.s.positions)
		if err == nil {
			err = os.WriteFile(to, b, 0o600)
		}
		if err == nil {
			_, err = shipper.ReadPositions(to) // it may have been copied within a save
		}
		if err == nil || time.Now().After(until) || ctx.Err() != nil {
			return err
		}
	}
}

// clean removes what a cleaner of locks would.
func clean(dir string) {
	for _, at := range []string{"*.lock", "*/*.lock"} {
		names, _ := filepath.Glob(filepath.Join(dir, at)) // the pattern is a good one
		for _, name := range names {
			_ = os.Remove(name)
		}
	}
}

// startSecond runs a raytap that has to refuse, and says what was wrong with it.
func startSecond(ctx context.Context, binary, dir string, s settings) (wrong string, err error) {
	config := filepath.Join(dir, "second.yaml")
	if err := s.write(config); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "--config.file", config)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return fmt.Sprintf("it ends with code 0: %.300q", out.Bytes()), nil
	case !errors.As(err, &exit):
		return "", err
	case !exit.Exited():
		return fmt.Sprintf("it does not end by itself (%v): %.300q", err, out.Bytes()), nil
	case !bytes.Contains(out.Bytes(), []byte("in use")):
		return fmt.Sprintf("it does not say why it ends (%v): %.300q", err, out.Bytes()), nil
	}
	return "", nil
}
