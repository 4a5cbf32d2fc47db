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
	slotLimit  = 8
	// dialTime is how long a raytap that takes its slots for free needs to use them
	// after the first reads.
	dialTime = 500 * time.Millisecond
)

// slots kills raytap ten times while it reads 200 silent jobs over WebSockets, and
// checks how many slots of the head are in use. The closed WebSocket of a silent job
// keeps its slot, so only the slots saved in the positions bound their number.
func slots(ctx context.Context, env environment) (res result, err error) {
	r := newRound(env, options{fsync: "1s", maxSize: "1MiB", protocol: "auto", agents: "off", interval: 500 * time.Millisecond})
	stop, err := r.start()
	if err != nil {
		return res, err
	}
	defer stop()
	r.subject.s.tails = slotLimit
	for i := range silentJobs {
		r.head.Submit(fmt.Sprintf("silent-%03d", i), raytest.JobOptions{})
	}
	most := 0
	for kill := range slotKills {
		if err := r.subject.start(); err != nil {
			return res, err
		}
		// Wait for as many reads as would use all slots once more.
		read := func() int {
			return r.head.Requests(raytest.EndpointTail) + r.head.Requests(raytest.EndpointLogFile)
		}
		full := func() bool { return kill > 0 || r.head.OpenTails() >= slotLimit }
		for before, until := read(), time.Now().Add(20*time.Second); read() < before+2*slotLimit || !full(); wait(ctx, 5*time.Millisecond) {
			if ctx.Err() != nil || time.Now().After(until) {
				res.add("raytap does not read the silent jobs")
				return res, ctx.Err()
			}
		}
		wait(ctx, dialTime) // a slot is saved to disk before its WebSocket is dialled
		if err := r.subject.kill(); err != nil {
			res.add("%v", err)
			return res, nil
		}
		env.sum.killedAnyTime()
		// Requests in progress end; the slots that remain are WebSockets.
		held := r.head.SlotsInUse()
		for until := time.Now().Add(2 * time.Second); held > slotLimit && time.Now().Before(until); held = r.head.SlotsInUse() {
			wait(ctx, 10*time.Millisecond)
		}
		most = max(most, held)
	}
	if most > slotLimit {
		res.add("%d slots of the head are in use after %d kills, the limit is %d", most, slotKills, slotLimit)
	}
	if most == 0 {
		res.add("no WebSocket was ever open: the round proves nothing")
	}
	return res, nil
}

// storm breaks a WebSocket at the same offset again and again, after a replay of
// what was read before. The pauses between the attempts must grow.
func storm(ctx context.Context, env environment) (res result, err error) {
	r := newRound(env, options{fsync: "1s", maxSize: "1MiB", protocol: "websocket", agents: "off", interval: 500 * time.Millisecond})
	stop, err := r.start()
	if err != nil {
		return res, err
	}
	defer stop()
	r.subject.s.backoff = 30 * time.Second
	job := r.head.Submit("storm", raytest.JobOptions{})
	for i := range 200 {
		job.Printf("storm %d\n", i)
	}
	broken := r.head.Inject(raytest.Fault{Endpoint: raytest.EndpointTail, Action: raytest.CutReset, AfterBytes: 1000})
	if err := r.subject.start(); err != nil {
		return res, err
	}
	const period = 6 * time.Second
	wait(ctx, period)
	dials := r.head.Requests(raytest.EndpointTail)
	// 20 ms, growing by half each time, with jitter: about 13 in 6 s.
	if limit := 20; dials > limit {
		res.add("%d dials in %s, want at most %d with growing pauses", dials, period, limit)
	}
	if broken.Hits() < 4 {
		res.add("only %d WebSockets broke: the round proves nothing", broken.Hits())
	}
	if err := r.subject.stop(); err != nil {
		res.add("%v", err)
	}
	b, err := os.ReadFile(r.subject.s.sink)
	if err != nil || len(b) == 0 {
		res.add("nothing was shipped: %v", err)
	}
	return res, nil
}
