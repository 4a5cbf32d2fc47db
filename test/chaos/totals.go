package main

import (
	"fmt"
	"strings"
	"sync"
)

// totals count what happened in all rounds.
type totals struct {
	mu sync.Mutex

	kills  [moments]int
	cuts   int // connections and answers cut, tails closed
	faults int // answers refused or never given
	runes  int // cuts within a character
	crlfs  int // cuts between \r and \n
	torn   int // half records that a kill left
	full   int // times that the disk was full
	lies   int // job lists without their jobs
	harms  int // positions files removed, replaced or cut
	gone   int // sink files removed
	more   int // second raytaps started on the same files
	ahead  int // logs left by a raytap whose clock was ahead

	rounds, failed       int
	lines, lost, doubled int
}

// killedAnywhere counts one kill at no chosen moment.
func (t *totals) killedAnywhere() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kills[anywhere]++
}

// lied counts answers that lacked jobs which Ray had.
func (t *totals) lied(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lies += n
}

// harm counts a positions file that was removed, replaced or cut.
func (t *totals) harm() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.harms++
}

// removal counts a sink's file that was removed with lines that no position counted.
func (t *totals) removal() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone++
}

// second counts a raytap started on the files of another one.
func (t *totals) second() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.more++
}

// aheads counts logs whose last records said a time to come.
func (t *totals) aheads(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ahead += n
}

// take takes over what a session had of faults; d may be nil.
func (t *totals) take(net *network, k *killer, d *disk) {
	t.mu.Lock()
	defer t.mu.Unlock()
	net.tally(t)
	for m, n := range k.done {
		t.kills[m] += n
	}
	t.torn += k.torn
	if d != nil {
		t.full += d.filled
		d.filled = 0
	}
}

func (t *totals) add(v verdict) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rounds++
	if len(v.problems) > 0 {
		t.failed++
	}
	t.lines += v.lines
	t.lost += v.lost
	t.doubled += v.doubled
}

func (t *totals) killed() int {
	n := 0
	for _, k := range t.kills {
		n += k
	}
	return n
}

// lacking names the faults that a run has to have and that did not happen.
func (t *totals) lacking() []string {
	var out []string
	for m, n := range t.kills {
		if n == 0 {
			out = append(out, "a kill "+momentNames[m])
		}
	}
	for what, n := range map[string]int{
		"a cut within a character": t.runes, "a cut between \\r and \\n": t.crlfs, "a full disk": t.full, "an answer that lacked jobs": t.lies,
		"a positions file that was removed": t.harms, "a sink file that was removed": t.gone, "a second raytap on the same files": t.more,
		"a clock that was ahead": t.ahead,
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
	for m, n := range t.kills {
		fmt.Fprintf(&b, ", %d %s", n, momentNames[m])
	}
	fmt.Fprintf(&b, "; %d torn records\n", t.torn)
	fmt.Fprintf(&b, "chaos: %d cuts, %d of them within a character, %d within \\r\\n; %d refusals; the disk full %d times; %d answers lacked jobs; %d positions files were removed or changed; %d sink files were removed; %d second raytaps; %d logs of a clock that was ahead\n",
		t.cuts, t.runes, t.crlfs, t.faults, t.full, t.lies, t.harms, t.gone, t.more, t.ahead)
	fmt.Fprintf(&b, "chaos: %d lines, %d lost, %d doubled\n", t.lines, t.lost, t.doubled)
	return b.String()
}
