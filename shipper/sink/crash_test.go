package sink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// ledger is the saved state of an owner of a File. It survives crashes.
type ledger struct {
	mark Watermark
	next int // the first record after mark
}

// owner writes the records 0 to total-1 as the daemon does, continuing after crashes.
type owner struct {
	path   string
	total  int
	saved  ledger
	policy FsyncPolicy
	random *rand.Rand
	reopen bool // also rename the file, and reopen
	gzip   bool // also compress
}

func numbered(i int) []byte { return fmt.Appendf(nil, "record %06d\n", i) }

// run is one process: it recovers, opens, and writes until it is done or crashes.
func (o *owner) run(fs *memFS) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	fs.crashed = cancel // a dead process does not wait
	next := o.saved.next
	claim, err := acquire(fs, o.path, DefaultFileMode)
	if err != nil {
		return err
	}
	r, err := claim.Recover(o.saved.mark, func(b []byte) error {
		n, err := strconv.Atoi(strings.TrimPrefix(string(b), "record "))
		next = max(next, n+1)
		return err
	})
	if err != nil {
		return errors.Join(err, claim.Close())
	}
	if o.saved.mark.Number > 0 && r.Status != StatusRecovered && (!o.reopen || r.Status != StatusMissing && r.Status != StatusTruncated) {
		return fmt.Errorf("recovery status: %v", r.Status)
	}
	f, err := NewFile(FileOptions{
		Path: o.path, MaxSize: 60, Fsync: o.policy, Saved: o.saved.mark, Claim: claim, fs: fs,
		Checkpoint: func(_ context.Context, w Watermark) error { return o.save(fs, w, next) },
	})
	if err != nil {
		return err
	}
	defer f.Close()
	if err := o.save(fs, f.Durable(), next); err != nil {
		return err
	}
	for next < o.total {
		var batch []byte
		n := min(1+o.random.IntN(3), o.total-next)
		for i := range n {
			batch = append(batch, numbered(next+i)...)
		}
		if err := f.Write(ctx, batch); err != nil {
			return err
		}
		next += n
		if o.random.IntN(3) == 0 {
			if err := f.Sync(ctx); err != nil {
				return err
			}
			if err := o.save(fs, f.Durable(), next); err != nil {
				return err
			}
			if o.gzip && o.random.IntN(2) == 0 {
				if err := f.compressAll(ctx); err != nil {
					return err
				}
			}
			if o.reopen && o.random.IntN(4) == 0 {
				if err := errors.Join(moveAway(fs, o.path, next), f.Reopen(ctx)); err != nil {
					return err
				}
			}
		}
	}
	return f.Close()
}

// moveAway renames the current file as logrotate does, and syncs the directory.
func moveAway(fs *memFS, path string, n int) error {
	if fs.files[path] == nil || len(fs.files[path].data) == 0 {
		return nil
	}
	if err := fs.rename(path, fmt.Sprintf("%s.away-%06d", path, n)); err != nil {
		return err
	}
	return fs.syncDir("")
}

// save is a step, too: a crash can precede it.
func (o *owner) save(fs *memFS, w Watermark, next int) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err := fs.step("save"); err != nil {
		return err
	}
	o.saved = ledger{w, next}
	return nil
}

// After a crash at any step, each record is in the files exactly once.
func TestFile_CrashAtEachStep(t *testing.T) {
	const total = 40
	for _, policy := range []FsyncPolicy{FsyncInterval, FsyncAlways} {
		for _, powerCut := range []bool{false, true} {
			for _, reopen := range []bool{false, true} {
				t.Run(fmt.Sprintf("fsync %d, power cut %v, reopen %v", policy, powerCut, reopen), func(t *testing.T) {
					seen := map[string]bool{}
					for crashAt := 1; ; crashAt++ {
						o := &owner{path: "/d/out", total: total, policy: policy, reopen: reopen, random: rand.New(rand.NewPCG(1, 2))}
						fs := newMemFS()
						fs.crashAt = crashAt
						err := o.run(fs)
						if err == nil {
							break
						}
						if !errors.Is(err, errCrash) {
							t.Fatalf("crash at step %d: %v", crashAt, err)
						}
						seen[strings.Fields(fs.steps[crashAt-1])[0]] = true
						fs = fs.after(powerCut)
						if err := o.run(fs); err != nil {
							t.Fatalf("run after a crash at step %d (%v): %v", crashAt, lastSteps(fs), err)
						}
						checkOnce(t, fs, o, fmt.Sprintf("crash at step %d", crashAt))
					}
					for _, step := range []string{"open", "write", "fsync", "syncdir", "rename", "save"} {
						if !seen[step] {
							t.Errorf("the test has no crash at a step %q", step)
						}
					}
				})
			}
		}
	}
}

// Many crashes, also during recovery.
func TestFile_ManyCrashes(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 7))
		o := &owner{path: "/d/out", total: 60, policy: FsyncPolicy(seed % 2), gzip: seed%8 > 5, random: random}
		fs := newMemFS()
		runs := 0
		for ; runs < 200; runs++ {
			fs.crashAt = 1 + random.IntN(40)
			err := o.run(fs)
			if err == nil {
				break
			}
			if !errors.Is(err, errCrash) {
				t.Fatalf("seed %d: %v", seed, err)
			}
			fs = fs.after(random.IntN(2) == 0)
		}
		if o.saved.next < o.total && runs == 200 {
			t.Fatalf("seed %d: no progress in %d runs", seed, runs)
		}
		checkOnce(t, fs, o, fmt.Sprintf("seed %d, %d runs", seed, runs))
	}
}

func checkOnce(t *testing.T, fs *memFS, o *owner, when string) {
	t.Helper()
	var want strings.Builder
	for i := range o.total {
		want.Write(numbered(i))
	}
	got := fs.all(o.path)
	if o.reopen { // renamed files are in no order
		got = sortLines(got)
	}
	if got != want.String() {
		t.Fatalf("%s: the files contain\n%s", when, got)
	}
}

func lastSteps(fs *memFS) []string { return fs.steps[max(0, len(fs.steps)-5):] }

func sortLines(s string) string {
	lines := strings.SplitAfter(s, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}
