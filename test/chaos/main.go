// Chaos is a harness that tries to make raytap lose or double a line. It plays
// a Ray head whose connections break, whose jobs print nasty things and whose
// logs are replaced; it fills the disk, and kills raytap at the worst moments
// that it can find. Then it holds what came out against all that was printed.
//
//	go run ./test/chaos            the short form, about a minute
//	go run ./test/chaos -kills 200 -cuts 2000
//	go run ./test/chaos -seed 7    the same again, as far as timing allows
//
// It exits with 1 where a law was broken, or where its own faults did not
// happen, and with 2 where it could not do its work.
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

// flags of the harness.
type flags struct {
	seed     uint64
	kills    int
	cuts     int
	parallel int
	duration time.Duration
	rounds   string
	first    bool
	keep     bool
	binary   string
}

func run() int {
	f := flags{seed: rand.Uint64N(1_000_000)}
	flag.Uint64Var(&f.seed, "seed", f.seed, "what chance is made of")
	flag.IntVar(&f.kills, "kills", 12, "go on until raytap was killed so often")
	flag.IntVar(&f.cuts, "cuts", 100, "and so many connections were cut")
	flag.IntVar(&f.parallel, "parallel", 3, "rounds at a time")
	flag.DurationVar(&f.duration, "duration", 6*time.Second, "how long the jobs of a round print")
	flag.StringVar(&f.rounds, "rounds", "", "only these rounds, by name, with commas")
	flag.BoolVar(&f.first, "first", false, "end with the first round that fails")
	flag.BoolVar(&f.keep, "keep", false, "keep the folders of rounds that failed")
	flag.StringVar(&f.binary, "raytap", "", "the raytap to test; built from this tree where it is empty")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "chaos: no arguments are taken:", flag.Args())
		return 2
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
	// patientLaps is how many laps the rarer faults may take to happen.
	patientLaps = 3
	maxLaps     = 200
)

// harness runs rounds until there were enough faults.
func harness(ctx context.Context, f flags) int {
	started := time.Now()
	fmt.Printf("chaos: seed %d\n", f.seed)
	sum := &totals{}
	for lap := 0; ; lap++ {
		todo := plan(f, f.seed+uint64(lap)*100)
		if len(todo) == 0 {
			fmt.Fprintln(os.Stderr, "chaos: no such rounds:", f.rounds)
			return 2
		}
		if err := runLap(ctx, f, todo, sum); err != nil {
			fmt.Fprintln(os.Stderr, "chaos:", err)
			return 2
		}
		enough := sum.killed() >= f.kills && sum.cuts >= f.cuts
		if sum.failed > 0 || enough && (len(sum.lacking()) == 0 || lap >= patientLaps) || lap >= maxLaps {
			break
		}
		if f.rounds != "" && f.kills == 0 {
			break // only some rounds are looked at
		}
	}
	fmt.Print(sum)
	fmt.Printf("chaos: %.0f s\n", time.Since(started).Seconds())
	switch lacking := sum.lacking(); {
	case sum.failed > 0:
		fmt.Printf("chaos: FAILED in %d rounds; -seed %d tries the same again\n", sum.failed, f.seed)
		return 1
	case f.rounds == "" && len(lacking) > 0:
		fmt.Printf("chaos: FAILED: these faults did not happen: %s\n", strings.Join(lacking, ", "))
		return 1
	}
	fmt.Println("chaos: every line once")
	return 0
}

// job is one round of any form.
type job struct {
	name string
	seed uint64
	run  func(ctx context.Context, binary, dir string, sum *totals) (verdict, error)
}

// runLap runs the rounds, some at a time.
func runLap(ctx context.Context, f flags, todo []job, sum *totals) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(f.parallel)
	var printing sync.Mutex
	for _, j := range todo {
		group.Go(func() error {
			dir, err := os.MkdirTemp("", "raytap-chaos-")
			if err != nil {
				return err
			}
			started := time.Now()
			v, err := j.run(ctx, f.binary, dir, sum)
			if err != nil {
				_ = os.RemoveAll(dir)
				if errors.Is(err, context.Canceled) {
					return err
				}
				return fmt.Errorf("round %s: %w", j.name, err)
			}
			printing.Lock()
			defer printing.Unlock()
			fmt.Printf("%-10s seed %-8d %4.0f s  %6d lines, %d lost, %d doubled\n",
				j.name, j.seed, time.Since(started).Seconds(), v.lines, v.lost, v.doubled)
			sum.add(v)
			for _, p := range v.problems {
				fmt.Printf("    %s\n", p)
			}
			if len(v.problems) > 0 && f.keep {
				fmt.Printf("    see %s\n", dir)
			} else if err := os.RemoveAll(dir); err != nil {
				return err
			}
			if len(v.problems) > 0 && f.first {
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

// plan gives the rounds of a lap.
func plan(f flags, seed uint64) []job {
	var all []job
	for i, o := range shapes() {
		o.seed, o.duration = seed+uint64(i), f.duration
		all = append(all, job{o.name, o.seed, func(ctx context.Context, binary, dir string, sum *totals) (verdict, error) {
			return (&round{o: o, dir: dir, binary: binary}).run(ctx, sum)
		}})
	}
	for i, extra := range []job{{name: "slots", run: slots}, {name: "storm", run: storm}, {name: "empty", run: empty}, {name: "removed", run: removed}} {
		extra.seed = seed + 50 + uint64(i)
		all = append(all, extra)
	}
	for i, exact := range []struct {
		name string
		run  func(ctx context.Context, binary, dir string, seed uint64, sum *totals) (verdict, error)
	}{{"gone", gone}, {"second", second}, {"clock", clock}} {
		seed := seed + 60 + uint64(i)
		all = append(all, job{exact.name, seed, func(ctx context.Context, binary, dir string, sum *totals) (verdict, error) {
			return exact.run(ctx, binary, dir, seed, sum)
		}})
	}
	if f.rounds == "" {
		return all
	}
	return slices.DeleteFunc(all, func(j job) bool { return !slices.Contains(strings.Split(f.rounds, ","), j.name) })
}
