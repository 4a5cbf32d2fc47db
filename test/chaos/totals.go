package main

import (
	"fmt"
	"strings"
	"sync"
)

// totals counts what happened in all rounds.
type totals struct {
	mu sync.Mutex

	kills            [killPoints]int
	cuts             int // connections and responses cut
	faults           int // responses refused or never sent
	runes            int // cuts within a character
	crlfs            int // cuts between \r and \n
	torn             int // partial records that a kill left
	full             int // times that the disk was full
	emptyResponses   int // responses without jobs that the head had
	positionsDamaged int // positions files removed, replaced or truncated
	sinksRemoved     int // sink files removed
	secondProcesses  int // raytaps started on the files of another one
	clocksAhead      int // logs left by a raytap whose clock was ahead
	rotations        int // of the logs of jobs
	rotationsDown    int // of these, while raytap was down

	rounds, failed          int
	lines, lost, duplicated int
}

// killedAnyTime counts one kill at no chosen point.
func (t *totals) killedAnyTime() { t.count(&t.kills[anyTime], 1) }

// count adds n to one of t's counters.
func (t *totals) count(counter *int, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*counter += n
}

// addSession adds the faults of a session; d may be nil.
func (t *totals) addSession(net *network, k *killer, d *disk) {
	t.mu.Lock()
	defer t.mu.Unlock()
	net.addTo(t)
	for m, n := range k.done {
		t.kills[m] += n
	}
	t.torn += k.torn
	if d != nil {
		t.full += d.filled
		d.filled = 0
	}
}

func (t *totals) add(res result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rounds++
	if len(res.problems) > 0 {
		t.failed++
	}
	t.lines += res.lines
	t.lost += res.lost
	t.duplicated += res.duplicated
}

func (t *totals) killed() int {
	n := 0
	for _, k := range t.kills {
		n += k
	}
	return n
}

// fewer returns of which faults fewer happened than a run requires. Only some rounds rotate
// logs: if rounds are selected, rotations do not count.
func (t *totals) fewer(f flags) []string {
	var out []string
	for _, c := range []struct {
		what      string
		got, want int
	}{{"kills", t.killed(), f.kills}, {"cuts", t.cuts, f.cuts}, {"rotated logs", t.rotations, f.rotated}} {
		if c.got < c.want && (c.what != "rotated logs" || f.rounds == "") {
			out = append(out, fmt.Sprintf("%d %s of %d", c.got, c.what, c.want))
		}
	}
	return out
}

// missing returns the faults that a full run requires and that did not happen.
func (t *totals) missing() []string {
	var out []string
	for p, n := range t.kills {
		if n == 0 {
			out = append(out, "a kill "+killPointNames[p])
		}
	}
	for what, n := range map[string]int{
		"a cut within a character": t.runes, "a cut between \\r and \\n": t.crlfs, "a full disk": t.full, "a response without the jobs": t.emptyResponses,
		"a damaged positions file": t.positionsDamaged, "a removed sink file": t.sinksRemoved, "a second raytap on the same files": t.secondProcesses,
		"a clock that was ahead": t.clocksAhead, "a rotated log": t.rotations, "a log rotated while raytap is down": t.rotationsDown,
	} {
		if n == 0 {
			out = append(out, what)
		}
	}
	return out
}

func (t *totals) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "chaos: %d rounds, %d kills", t.rounds, t.killed())
	for p, n := range t.kills {
		fmt.Fprintf(&b, ", %d %s", n, killPointNames[p])
	}
	fmt.Fprintf(&b, "; %d partial records\n", t.torn)
	fmt.Fprintf(&b, "chaos: %d cuts, of these %d within a character, %d between \\r and \\n; %d refused responses; %d full disks; %d responses without the jobs; %d damaged positions files; %d removed sink files; %d second raytaps; %d logs with a clock that was ahead; %d rotated logs, of these %d while raytap was down\n",
		t.cuts, t.runes, t.crlfs, t.faults, t.full, t.emptyResponses, t.positionsDamaged, t.sinksRemoved, t.secondProcesses, t.clocksAhead, t.rotations, t.rotationsDown)
	fmt.Fprintf(&b, "chaos: %d lines, %d lost, %d duplicated\n", t.lines, t.lost, t.duplicated)
	return b.String()
}
