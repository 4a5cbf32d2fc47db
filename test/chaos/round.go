package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"raytap/ray/raytest"
)

// options are what a round is made of.
type options struct {
	name      string
	seed      uint64
	duration  time.Duration // of one session's jobs
	protocol  string
	agents    string // on | off
	fsync     string
	interval  time.Duration // of the positions
	maxSize   string
	gzip      bool
	sessions  int  // 2: the head is restarted in the middle
	full      bool // the disk fills up now and then
	shaped    bool // lines are joined and thinned
	verifying bool // each read verifies: a log may be truncated in place
	late      bool // children print after the end: it is checked 15 s later
	moments   []moment
}

// round is one run of a subject among faults, from an empty disk to the last
// end event.
type round struct {
	o       options
	dir     string
	binary  string
	head    *raytest.Head
	oracle  *oracle
	subject *subject
	down    chan func() // what is to be done while the subject is down

	long    []key // jobs that print for as long as harm is done (see exact)
	stamped int   // records that were made to say a time to come

	mu   sync.Mutex
	seen map[key]map[string]int // events in the sink
	gone []removedFile          // in the order of their removal
}

// whileDown does f while the subject is down, unless ctx ends before.
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

// await waits for the nth event of a log in the sink; false: ctx ended first.
func (r *round) await(ctx context.Context, k key, event string, n int) bool {
	for ctx.Err() == nil {
		r.mu.Lock()
		got := r.seen[k][event]
		r.mu.Unlock()
		if got >= n {
			return true
		}
		wait(ctx, 20*time.Millisecond)
	}
	return false
}

// look counts the events in the sink.
func (r *round) look() {
	b, err := r.content()
	if err != nil {
		return // a file is being rotated or compressed; the next look sees it
	}
	seen := map[key]map[string]int{}
	for _, e := range events(b) {
		k := key{e.Session, e.SubmissionID}
		if seen[k] == nil {
			seen[k] = map[string]int{}
		}
		seen[k][e.Event]++
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = seen
}

func (r *round) watchEvents(ctx context.Context) {
	for ctx.Err() == nil {
		r.look()
		wait(ctx, 100*time.Millisecond)
	}
}

// start makes the head and the subject.
func (r *round) start() (stop func(), err error) {
	if r.head, err = raytest.Start(raytest.Poll(50 * time.Millisecond)); err != nil {
		return nil, err
	}
	if _, err = r.head.AddNode("127.0.0.2"); err != nil {
		r.head.Close()
		return nil, err
	}
	log, err := os.Create(filepath.Join(r.dir, "subject.log"))
	if err != nil {
		r.head.Close()
		return nil, err
	}
	s := settings{
		url: r.head.URL(), protocol: r.o.protocol, agents: r.o.agents, tails: 32, backoff: 500 * time.Millisecond,
		interval: r.o.interval, fsync: r.o.fsync, maxSize: r.o.maxSize, gzip: r.o.gzip, endTimeout: time.Minute, shaped: r.o.shaped,
	}
	if r.o.protocol == "websocket" {
		s.endTimeout = 5 * time.Second // a deleted job has no tail: it is lost
	}
	data := filepath.Join(r.dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		return nil, err
	}
	s.sink, s.positions = paths(data)
	r.subject = &subject{binary: r.binary, config: filepath.Join(r.dir, "raytap.yaml"), s: s, log: log}
	return func() {
		if r.subject.cmd != nil {
			_ = r.subject.cmd.Process.Kill()
		}
		r.head.Close()
		_ = log.Close()
	}, nil
}

// run runs the round and adds what happened to the totals. The error is the
// harness's own; what raytap did wrong is in the verdict.
func (r *round) run(ctx context.Context, sum *totals) (verdict, error) {
	r.oracle, r.seen, r.down = newOracle(), map[key]map[string]int{}, make(chan func(), 64)
	stop, err := r.start()
	if err != nil {
		return verdict{}, err
	}
	defer stop()
	var d *disk
	if r.o.full {
		if d, err = newDisk(r.subject, filepath.Dir(r.subject.s.sink)); err != nil {
			return verdict{}, err
		}
		defer d.close()
	}
	if err := r.subject.start(); err != nil {
		return verdict{}, err
	}
	if !r.awaitSeen(ctx) {
		return verdict{problems: []string{"the cluster was never seen"}}, nil
	}
	rng := rand.New(rand.NewPCG(r.o.seed, 0))
	looking, stopLooking := context.WithCancel(ctx)
	defer stopLooking()
	go r.watchEvents(looking)
	for session := range max(1, r.o.sessions) {
		if err := r.session(ctx, rng, d, session+1 < r.o.sessions, sum); err != nil {
			return verdict{problems: []string{err.Error()}}, nil
		}
	}
	v := verdict{}
	if missing := r.awaitEnds(ctx); len(missing) > 0 {
		v.add("no end event within a minute of quiet: %s", strings.Join(missing, ", "))
	}
	if err := r.subject.stop(); err != nil {
		v.add("%v", err)
	}
	r.judge(ctx, &v)
	return v, ctx.Err()
}

// session is one life of the head with its jobs. cut: it ends in the middle of
// them.
func (r *round) session(ctx context.Context, rng *rand.Rand, d *disk, cut bool, sum *totals) error {
	w, err := newWatch(filepath.Dir(r.subject.s.sink))
	if err != nil {
		return err
	}
	defer w.close()
	killer := &killer{r: r, rng: rand.New(rand.NewPCG(rng.Uint64(), 4)), w: w, want: r.o.moments}
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
		others.Go(func() { d.fillNowAndThen(faulty, rng.Uint64()) })
	}
	if cut {
		time.AfterFunc(r.o.duration/2, endSession)
	}
	jobs.Wait()
	endKills()
	err = <-killed
	if cut {
		r.lose(all)
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
	sum.take(net, killer, d)
	if err == nil {
		err = <-failed
	}
	return err
}

// idsOf gives the jobs that print in a style.
func idsOf(all []*script, s style) []string {
	var ids []string
	for _, j := range all {
		if j.text.style == s {
			ids = append(ids, j.k.id)
		}
	}
	return ids
}

// lose notes that what is not read of these logs yet is out of reach.
func (r *round) lose(all []*script) {
	for _, s := range all {
		s.f.mu.Lock()
		s.f.lost = true
		s.f.mu.Unlock()
	}
}

// awaitSeen waits until the positions know the cluster.
func (r *round) awaitSeen(ctx context.Context) bool {
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until) && ctx.Err() == nil; wait(ctx, 10*time.Millisecond) {
		v, err := r.subject.saved()
		if err != nil {
			continue
		}
		for _, c := range v.Clusters {
			if c.Seen {
				return true
			}
		}
	}
	return false
}

// awaitEnds waits until each run has its end event, and names those that have not.
func (r *round) awaitEnds(ctx context.Context) []string {
	var missing []string
	for until := time.Now().Add(time.Minute); time.Now().Before(until) && ctx.Err() == nil; wait(ctx, 50*time.Millisecond) {
		missing = nil
		for _, k := range r.oracle.keys() {
			f := r.oracle.of(k)
			r.mu.Lock()
			starts, ends := r.seen[k]["start"], r.seen[k]["end"]
			r.mu.Unlock()
			want := len(f.runs)
			for _, run := range f.runs {
				if run.late > 0 {
					want++
				}
			}
			if ends < want && !f.lost || ends < starts {
				missing = append(missing, fmt.Sprintf("%s (%d of %d)", k, ends, want))
			}
		}
		if len(missing) == 0 {
			return nil
		}
	}
	return missing
}

// judge lets the oracle speak, and then sees that another life adds nothing.
func (r *round) judge(ctx context.Context, v *verdict) {
	b, err := r.content()
	if err != nil {
		v.add("%v", err)
		return
	}
	records, err := parse(b)
	if err != nil {
		v.add("%v", err)
	}
	lines := unshape(records)
	// Whether bars are thinned depends on the way they happen to be read by.
	if joined := slices.ContainsFunc(lines, func(l record) bool { return l.part }); joined != r.o.shaped {
		v.add("lines are joined: %v", joined)
	}
	if !r.o.shaped && slices.ContainsFunc(lines, func(l record) bool { return l.skipped }) {
		v.add("lines are skipped")
	}
	found := r.oracle.judge(lines)
	v.problems = append(v.problems, found.problems...)
	v.lines, v.lost, v.doubled = found.lines, found.lost, found.doubled
	if err := r.subject.start(); err != nil {
		v.add("%v", err)
		return
	}
	for asked := r.head.Requests(raytest.EndpointJobs); r.head.Requests(raytest.EndpointJobs) < asked+4 && ctx.Err() == nil; {
		wait(ctx, 10*time.Millisecond)
		select {
		case err := <-r.subject.end:
			v.add("the subject does not start again: %v", err)
			return
		default:
		}
	}
	if err := r.subject.stop(); err != nil {
		v.add("%v", err)
	}
	again, err := r.content()
	if err != nil || !bytes.Equal(again, b) {
		v.add("a restart after all was read shipped %d bytes more: %v %.300q", len(again)-len(b), err, again[min(len(b), len(again)):])
	}
}
