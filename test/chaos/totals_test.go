package main

import (
	"slices"
	"testing"
)

// A run with fewer faults than its flags require has not passed.
func TestTotals_Fewer(t *testing.T) {
	f := flags{kills: 200, cuts: 2000, rotated: 200}
	sum := &totals{cuts: 2000, rotations: 199}
	sum.kills[anyTime], sum.kills[startup] = 150, 50
	if got := sum.fewer(f); !slices.Equal(got, []string{"199 rotated logs of 200"}) {
		t.Errorf("fewer: %q", got)
	}
	sum.rotations, sum.kills[startup] = 200, 49
	if got := sum.fewer(f); !slices.Equal(got, []string{"199 kills of 200"}) {
		t.Errorf("fewer: %q", got)
	}
	sum.kills[startup] = 50
	if got := sum.fewer(f); len(got) > 0 {
		t.Errorf("fewer: %q", got)
	}
	f.rounds, sum.rotations = "storm", 0
	if got := sum.fewer(f); len(got) > 0 {
		t.Errorf("of selected rounds: %q", got)
	}
}
