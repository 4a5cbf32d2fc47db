// Chaos tries to make raytap lose or duplicate a line. It runs a fake Ray head
// whose connections break, whose jobs print difficult output and whose logs are
// replaced. It fills the disk, damages files, and kills raytap at the worst moments
// that it can detect. Then it compares the sink with everything that was printed.
//
//	go run ./test/chaos            short form, about a minute
//	go run ./test/chaos -kills 200 -cuts 2000 -rotations 200
//	go run ./test/chaos -seed 7    repeats a run, as far as timing allows
//
// Exit codes: 0 passed; 1 raytap broke a guarantee, or a planned fault did not
// happen; 2 the harness itself failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

func main() { os.Exit(run()) }

type flags struct {
	seed     uint64
	kills    int
	cuts     int
	rotated  int
	parallel int
	duration time.Duration
	rounds   string
	first    bool
	keep     bool
	binary   string
}

func run() int {
	f := flags{seed: rand.Uint64N(1_000_000)}
	flag.Uint64Var(&f.seed, "seed", f.seed, "seed of the random numbers")
	flag.IntVar(&f.kills, "kills", 12, "run until raytap was killed this many times")
	flag.IntVar(&f.cuts, "cuts", 100, "and this many connections were cut")
	flag.IntVar(&f.rotated, "rotations", 0, "and logs were rotated this many times (0: as many as -kills)")
	flag.IntVar(&f.parallel, "parallel", 3, "number of rounds to run in parallel")
	flag.DurationVar(&f.duration, "duration", 6*time.Second, "how long the jobs of a round print")
	flag.StringVar(&f.rounds, "rounds", "", "run only these rounds (comma-separated names)")
	flag.BoolVar(&f.first, "first", false, "stop at the first round that fails")
	flag.BoolVar(&f.keep, "keep", false, "keep the directories of failed rounds")
	flag.StringVar(&f.binary, "raytap", "", "raytap binary to test (default: build it from this tree)")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "chaos: unexpected arguments:", flag.Args())
		return 2
	}
	if f.rotated == 0 {
		f.rotated = f.kills
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if f.binary == "" {
		dir, err := os.MkdirTemp("", "raytap-chaos-")
		if err != nil {
			fmt.Fprintln(os.Stderr, "chaos:", err)
			return 2
		}
		defer os.RemoveAll(dir)
		f.binary = filepath.Join(dir, "raytap")
		build := exec.CommandContext(ctx, "go", "build", "-o", f.binary, "raytap")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "chaos: build raytap:", err)
			return 2
		}
	}
	return harness(ctx, f)
}

const (
	// extraPasses is how many more passes the rare faults get to happen.
	extraPasses = 3
	maxPasses   = 200
)

// harness runs passes over the rounds until there were enough faults. It returns
// the exit code.
func harness(ctx context.Context, f flags) int {
	started := time.Now()
	fmt.Printf("chaos: seed %d\n", f.seed)
	sum := &totals{}
	for pass := 0; ; pass++ {
		todo := plan(f, f.seed+uint64(pass)*100)
		if len(todo) == 0 {
			fmt.Fprintln(os.Stderr, "chaos: unknown rounds:", f.rounds)
			return 2
		}
		if err := runPass(ctx, f, todo, sum); err != nil {
			fmt.Fprintln(os.Stderr, "chaos:", err)
			return 2
		}
		enough := len(sum.fewer(f)) == 0
		if sum.failed > 0 || enough && (len(sum.missing()) == 0 || pass >= extraPasses) || pass >= maxPasses {
			break
		}
		if f.rounds != "" && f.kills == 0 {
			break
		}
	}
	fewer := sum.fewer(f)
	fmt.Print(sum)
	fmt.Printf("chaos: %.0f s\n", time.Since(started).Seconds())
	switch missing := sum.missing(); {
	case sum.failed > 0:
		fmt.Printf("chaos: FAILED: %d rounds; repeat with -seed %d\n", sum.failed, f.seed)
		return 1
	case f.rounds == "" && len(missing) > 0:
		fmt.Printf("chaos: FAILED: these faults did not happen: %s\n", strings.Join(missing, ", "))
		return 1
	case f.rounds == "" && len(fewer) > 0:
		fmt.Printf("chaos: FAILED: too few faults happened: %s\n", strings.Join(fewer, ", "))
		return 1
	}
	fmt.Println("chaos: passed: every line exactly once")
	return 0
}

// environment is what a round gets from the harness.
type environment struct {
	binary string // path of raytap
	dir    string // of the round's own
	seed   uint64
	sum    *totals
}

// plannedRound is one round of a pass. The error of run is the harness's own; what
// raytap did wrong is in the result.
type plannedRound struct {
	name string
	seed uint64
	run  func(context.Context, environment) (result, error)
}

// runPass runs the rounds, some in parallel.
func runPass(ctx context.Context, f flags, todo []plannedRound, sum *totals) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(f.parallel)
	var printing sync.Mutex
	for _, p := range todo {
		group.Go(func() error {
			dir, err := os.MkdirTemp("", "raytap-chaos-")
			if err != nil {
				return err
			}
			started := time.Now()
			res, err := p.run(ctx, environment{binary: f.binary, dir: dir, seed: p.seed, sum: sum})
			if err != nil {
				_ = os.RemoveAll(dir)
				if errors.Is(err, context.Canceled) {
					return err
				}
				return fmt.Errorf("round %s: %w", p.name, err)
			}
			printing.Lock()
			defer printing.Unlock()
			fmt.Printf("%-17s seed %-8d %4.0f s  %6d lines, %d lost, %d duplicated\n",
				p.name, p.seed, time.Since(started).Seconds(), res.lines, res.lost, res.duplicated)
			sum.add(res)
			for _, problem := range res.problems {
				fmt.Printf("    %s\n", problem)
			}
			if len(res.problems) > 0 && f.keep {
				fmt.Printf("    see %s\n", dir)
			} else if err := os.RemoveAll(dir); err != nil {
				return err
			}
			if len(res.problems) > 0 && f.first {
				return errFirst
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil && !errors.Is(err, errFirst) {
		return err
	}
	return nil
}

var errFirst = errors.New("a round failed")

// plan returns the rounds of a pass.
func plan(f flags, seed uint64) []plannedRound {
	var all []plannedRound
	for i, o := range networkRounds() {
		o.seed, o.duration = seed+uint64(i), f.duration
		all = append(all, plannedRound{o.name, o.seed, func(ctx context.Context, env environment) (result, error) {
			return newRound(env, o).run(ctx)
		}})
	}
	all = append(all,
		plannedRound{"slots", seed + 50, slots},
		plannedRound{"storm", seed + 51, storm},
		plannedRound{"empty", seed + 52, empty},
		plannedRound{"positions_removed", seed + 53, positionsRemoved},
		plannedRound{"sink_removed", seed + 60, sinkRemoved},
		plannedRound{"second", seed + 61, second},
		plannedRound{"clock", seed + 62, clock},
	)
	if f.rounds == "" {
		return all
	}
	return slices.DeleteFunc(all, func(p plannedRound) bool { return !slices.Contains(strings.Split(f.rounds, ","), p.name) })
}
