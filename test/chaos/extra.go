package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"raytap/ray/raytest"
)

const (
	silentJobs = 200
	slotKills  = 10
	slotBudget = 8
	// dialTime is how long a raytap that thinks its slots are free needs to take
	// them, behind the first reads.
	dialTime = 500 * time.Millisecond
)

// slots kills raytap ten times while 200 silent jobs are read by tails, and
// looks at how many slots of the head it holds: a closed tail of a silent job
// keeps its slot, so only what is remembered across kills bounds them.
func slots(ctx context.Context, binary, dir string, sum *totals) (v verdict, err error) {
	r := &round{dir: dir, binary: binary, o: options{fsync: "1s", maxSize: "1MiB", protocol: "auto", agents: "off", interval: 500 * time.Millisecond}}
	stop, err := r.start()
	if err != nil {
		return v, err
	}
	defer stop()
	r.subject.s.tails = slotBudget
	for i := range silentJobs {
		r.head.Submit(fmt.Sprintf("silent-%03d", i), raytest.JobOptions{})
	}
	most := 0
	for life := range slotKills {
		if err := r.subject.start(); err != nil {
			return v, err
		}
		// As many logs are read as would take all slots once more.
		read := func() int {
			return r.head.Requests(raytest.EndpointTail) + r.head.Requests(raytest.EndpointLogFile)
		}
		full := func() bool { return life > 0 || r.head.OpenTails() >= slotBudget }
		for before, until := read(), time.Now().Add(20*time.Second); read() < before+2*slotBudget || !full(); wait(ctx, 5*time.Millisecond) {
			if ctx.Err() != nil || time.Now().After(until) {
				v.add("silent jobs are not read")
				return v, ctx.Err()
			}
		}
		wait(ctx, dialTime) // a tail is dialled only once it is recorded on disk
		if err := r.subject.kill(); err != nil {
			v.add("%v", err)
			return v, nil
		}
		sum.killedAnywhere()
		// The requests that were in progress end; what is left are tails.
		held := r.head.HeldSlots()
		for until := time.Now().Add(2 * time.Second); held > slotBudget && time.Now().Before(until); held = r.head.HeldSlots() {
			wait(ctx, 10*time.Millisecond)
		}
		most = max(most, held)
	}
	if most > slotBudget {
		v.add("%d slots of the head are held after %d kills, the budget is %d", most, slotKills, slotBudget)
	}
	if most == 0 {
		v.add("no tail was ever open: nothing is proven")
	}
	return v, nil
}

// storm is a tail that dies at the same place again and again, after a replay
// of what was read before: the pauses between the attempts have to grow.
func storm(ctx context.Context, binary, dir string, _ *totals) (v verdict, err error) {
	r := &round{dir: dir, binary: binary, o: options{fsync: "1s", maxSize: "1MiB", protocol: "websocket", agents: "off", interval: 500 * time.Millisecond}}
	stop, err := r.start()
	if err != nil {
		return v, err
	}
	defer stop()
	r.subject.s.backoff = 30 * time.Second
	job := r.head.Submit("storm", raytest.JobOptions{})
	for i := range 200 {
		job.Printf("storm %d\n", i)
	}
	dying := r.head.Inject(raytest.Fault{Endpoint: raytest.EndpointTail, Do: raytest.CutReset, After: 1000})
	if err := r.subject.start(); err != nil {
		return v, err
	}
	const stretch = 6 * time.Second
	wait(ctx, stretch)
	dials := r.head.Requests(raytest.EndpointTail)
	// 20 ms, half as long again each time, with jitter: some 13 in 6 s.
	if limit := 20; dials > limit {
		v.add("%d dials in %s, at most %d are right for a pause that grows", dials, stretch, limit)
	}
	if dying.Hits() < 4 {
		v.add("only %d tails died: nothing is proven", dying.Hits())
	}
	if err := r.subject.stop(); err != nil {
		v.add("%v", err)
	}
	b, err := os.ReadFile(r.subject.s.sink)
	if err != nil || len(b) == 0 {
		v.add("nothing was shipped: %v", err)
	}
	return v, nil
}
