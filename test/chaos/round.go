package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"raytap/ray/raytest"
)

// options configure a round.
type options struct {
	name       string
	seed       uint64
	duration   time.Duration // of the jobs of one session
	protocol   string
	agents     string // node_agents.mode
	fsync      string
	interval   time.Duration // between saves of the positions
	maxSize    string
	gzip       bool
	sessions   int  // 2: the head restarts in the middle
	full       bool // the disk fills up repeatedly
	aggregated bool // raytap joins multiline records and thins progress bars
	verifying  bool // each read verifies the position: a log may be truncated in place
	late       bool // children print after the end of their run: raytap checks 15 s later
	kills      []killPoint
}

// round is one run of raytap under faults, from an empty disk to the last end
// event.
type round struct {
	o       options
	env     environment
	head    *raytest.Head
	oracle  *oracle
	subject *subject
	down    chan func() // to call while raytap is down
	dead    atomic.Bool // raytap was killed, and not started again yet

	long    []key // jobs that print for as long as the faults last (see exact)
	stamped int   // records whose time the harness set to the future

	mu      sync.Mutex
	events  map[key]map[string]int // number of events in the sink, by name
	removed []removedFile          // in the order of their removal
}

func newRound(env environment, o options) *round {
	return &round{o: o, env: env, oracle: newOracle(), events: map[key]map[string]int{}, down: make(chan func(), 64)}
}

// whileDown calls f while raytap is down, unless ctx ends first.
func (r *round) whileDown(ctx context.Context, f func()) {
	done := make(chan struct{})
	var once sync.Once
	skipped := false
	act := func() {
		once.Do(func() {
			if !skipped {
				f()
			}
			close(done)
		})
	}
	select {
	case r.down <- act:
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
		once.Do(func() { skipped = true; close(done) })
	}
}

// awaitEvent waits for the nth event of a log in the sink; false: ctx ended first.
func (r *round) awaitEvent(ctx context.Context, k key, event string, n int) bool {
	for ctx.Err() == nil {
		r.mu.Lock()
		got := r.events[k][event]
		r.mu.Unlock()
		if got >= n {
			return true
		}
		wait(ctx, 20*time.Millisecond)
	}
	return false
}

func (r *round) countEvents() {
	b, err := r.content()
	if err != nil {
		return // a file is being rotated or compressed; the next call reads it
	}
	counts := map[key]map[string]int{}
	for _, e := range eventsIn(b) {
		k := key{e.Session, e.SubmissionID}
		if counts[k] == nil {
			counts[k] = map[string]int{}
		}
		counts[k][e.Event]++
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = counts
}

func (r *round) watchEvents(ctx context.Context) {
	for ctx.Err() == nil {
		r.countEvents()
		wait(ctx, 100*time.Millisecond)
	}
}

// start starts the head and prepares raytap, which it does not start.
func (r *round) start() (stop func(), err error) {
	if r.head, err = raytest.Start(raytest.PollInterval(50 * time.Millisecond)); err != nil {
		return nil, err
	}
	if _, err = r.head.AddNode("127.0.0.2"); err != nil {
		r.head.Close()
		return nil, err
	}
	log, err := os.Create(filepath.Join(r.env.dir, "subject.log"))
	if err != nil {
		r.head.Close()
		return nil, err
	}
	s := settings{
		url: r.head.URL(), protocol: r.o.protocol, agents: r.o.agents, tails: 32, backoff: 500 * time.Millisecond,
		interval: r.o.interval, fsync: r.o.fsync, maxSize: r.o.maxSize, gzip: r.o.gzip, lostAfter: time.Minute, aggregated: r.o.aggregated,
	}
	if r.o.protocol == "websocket" {
		s.lostAfter = 5 * time.Second // the WebSocket of a deleted job is gone: its log is lost
	}
	data := filepath.Join(r.env.dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		return nil, err
	}
	s.sink, s.positions = paths(data)
	r.subject = &subject{binary: r.env.binary, config: filepath.Join(r.env.dir, "raytap.yaml"), s: s, log: log}
	return func() {
		if r.subject.cmd != nil {
			_ = r.subject.cmd.Process.Kill()
		}
		r.head.Close()
		_ = log.Close()
	}, nil
}

// startSubject starts raytap and waits until its positions contain the cluster. If
// they do not, it returns false and adds a problem.
func (r *round) startSubject(ctx context.Context, res *result) (bool, error) {
	if err := r.subject.start(); err != nil {
		return false, err
	}
	if eventually(ctx, 20*time.Second, 10*time.Millisecond, r.clusterSeen) {
		return true, nil
	}
	res.add("raytap did not discover the cluster")
	return false, ctx.Err()
}

func (r *round) clusterSeen() bool {
	v, err := r.subject.saved()
	if err != nil {
		return false
	}
	for _, c := range v.Clusters {
		if c.Seen {
			return true
		}
	}
	return false
}

// restart kills raytap and starts it again, and waits until it is running.
func (r *round) restart() error {
	if err := r.subject.kill(); err != nil {
		return err
	}
	r.env.sum.killedAnyTime()
	if err := r.subject.start(); err != nil {
		return err
	}
	if err := r.subject.running(); err != nil {
		return fmt.Errorf("%w: %w", errExited, err)
	}
	return nil
}

// run runs the round and adds its faults to the totals. The error is the harness's
// own; what raytap did wrong is in the result.
func (r *round) run(ctx context.Context) (result, error) {
	stop, err := r.start()
	if err != nil {
		return result{}, err
	}
	defer stop()
	var d *disk
	if r.o.full {
		if d, err = newDisk(r.subject, filepath.Dir(r.subject.s.sink)); err != nil {
			return result{}, err
		}
		defer d.close()
	}
	res := result{}
	if ok, err := r.startSubject(ctx, &res); !ok {
		return res, err
	}
	rng := rand.New(rand.NewPCG(r.o.seed, 0))
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	go r.watchEvents(watching)
	for session := range max(1, r.o.sessions) {
		if err := r.session(ctx, rng, d, session+1 < r.o.sessions); err != nil {
			res.add("%v", err)
			return res, nil
		}
	}
	r.finish(ctx, &res)
	return res, ctx.Err()
}

// session runs the jobs of one Ray session. cut: the head restarts while they run.
func (r *round) session(ctx context.Context, rng *rand.Rand, d *disk, cut bool) error {
	w, err := newWatch(filepath.Dir(r.subject.s.sink))
	if err != nil {
		return err
	}
	defer w.close()
	killer := &killer{r: r, rng: rand.New(rand.NewPCG(rng.Uint64(), 4)), w: w, want: r.o.kills}
	living, endSession := context.WithCancel(ctx)
	defer endSession()
	faulty, endFaults := context.WithCancel(ctx)
	defer endFaults()

	var jobs, others sync.WaitGroup
	all := r.scripts(rng)
	net := newNetwork(r.head, rng.Uint64(), r.o.agents == "on", idsOf(all, crlf))
	for _, s := range all {
		jobs.Go(func() { s.live(living) })
	}
	for i := range 3 {
		others.Go(func() { consume(faulty, r.head, all[i].k.id, i == 0) })
	}
	failed := make(chan error, 3)
	others.Go(func() { failed <- net.disturb(faulty) })
	killing, endKills := context.WithCancel(ctx)
	defer endKills()
	killed := make(chan error, 1)
	go func() { killed <- killer.run(killing) }()
	if d != nil {
		others.Go(func() { d.fillRepeatedly(faulty, rng.Uint64()) })
	}
	if cut {
		time.AfterFunc(r.o.duration/2, endSession)
	}
	jobs.Wait()
	endKills()
	err = <-killed
	if cut {
		r.markLost(all)
		if rerr := r.head.Restart(raytest.RestartOptions{}); err == nil {
			err = rerr
		}
	}
	endFaults()
	others.Wait()
	net.heal()
	if uperr := r.head.Up(); err == nil {
		err = uperr
	}
	r.env.sum.addSession(net, killer, d)
	if err == nil {
		err = <-failed
	}
	return err
}

// idsOf returns the jobs that print in a style.
func idsOf(all []*script, s style) []string {
	var ids []string
	for _, j := range all {
		if j.text.style == s {
			ids = append(ids, j.k.id)
		}
	}
	return ids
}

// markLost records that the unread rest of these logs is out of reach.
func (r *round) markLost(all []*script) {
	for _, s := range all {
		s.f.mu.Lock()
		s.f.lost = true
		s.f.mu.Unlock()
	}
}

// unfinished returns the logs whose runs do not all have their end event yet.
func (r *round) unfinished() []string {
	var unfinished []string
	for _, k := range r.oracle.keys() {
		f := r.oracle.of(k)
		r.mu.Lock()
		starts, ends := r.events[k]["start"], r.events[k]["end"]
		r.mu.Unlock()
		want := len(f.runs)
		for _, run := range f.runs {
			if run.late > 0 {
				want++
			}
		}
		if ends < want && !f.lost || ends < starts {
			unfinished = append(unfinished, fmt.Sprintf("%s (%d of %d)", k, ends, want))
		}
	}
	return unfinished
}

// finish waits until each run has its end event, stops raytap, compares the sink
// with everything that was printed, and checks that a restart adds nothing.
func (r *round) finish(ctx context.Context, res *result) {
	if !eventually(ctx, time.Minute, 50*time.Millisecond, func() bool { return len(r.unfinished()) == 0 }) {
		res.add("no end event within a minute after the last fault: %s", strings.Join(r.unfinished(), ", "))
	}
	if err := r.subject.stop(); err != nil {
		res.add("%v", err)
	}
	b, err := r.content()
	if err != nil {
		res.add("%v", err)
		return
	}
	r.check(b, res)
	if err := r.subject.start(); err != nil {
		res.add("%v", err)
		return
	}
	for listed := r.head.Requests(raytest.EndpointJobs); r.head.Requests(raytest.EndpointJobs) < listed+4 && ctx.Err() == nil; {
		wait(ctx, 10*time.Millisecond)
		select {
		case err := <-r.subject.end:
			res.add("raytap does not start again: %v", err)
			return
		default:
		}
	}
	if err := r.subject.stop(); err != nil {
		res.add("%v", err)
	}
	again, err := r.content()
	if err != nil || !bytes.Equal(again, b) {
		res.add("a restart after everything was read shipped %d more bytes: %v %.300q", len(again)-len(b), err, again[min(len(b), len(again)):])
	}
}

// check compares the content of the sink with everything that was printed.
func (r *round) check(b []byte, res *result) {
	records, err := parse(b)
	if err != nil {
		res.add("%v", err)
	}
	lines := splitAggregated(records)
	// Whether progress bars are thinned depends on the transport that happens to read them.
	if joined := slices.ContainsFunc(lines, func(l record) bool { return l.part }); joined != r.o.aggregated {
		res.add("multiline records in the sink: %v, want %v", joined, r.o.aggregated)
	}
	if !r.o.aggregated && slices.ContainsFunc(lines, func(l record) bool { return l.skipped }) {
		res.add("lines are skipped")
	}
	found := r.oracle.judge(lines)
	res.problems = append(res.problems, found.problems...)
	res.lines, res.lost, res.duplicated = found.lines, found.lost, found.duplicated
}

// absorb adds an error to the result if raytap caused it. It returns the harness's
// own errors.
func (res *result) absorb(err error) error {
	if errors.Is(err, errExited) || errors.Is(err, errStalled) {
		res.add("%v", err)
		return nil
	}
	return err
}

// eventually polls until the condition holds; false: it did not within d, or ctx
// ended.
func eventually(ctx context.Context, d, interval time.Duration, condition func() bool) bool {
	for deadline := time.Now().Add(d); !condition(); wait(ctx, interval) {
		if ctx.Err() != nil || !time.Now().Before(deadline) {
			return false
		}
	}
	return true
}
