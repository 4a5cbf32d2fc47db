package fake

import (
	"math/rand/v2"
	"testing"
)

func TestARuleHitsTheRequestsItIsFor(t *testing.T) {
	for name, tt := range map[string]struct {
		rule Rule
		want string // of six requests, by turns for jobs a and b: x is hit
	}{
		"all":                     {Rule{}, "xxxxxx"},
		"an endpoint":             {Rule{Endpoint: "jobs"}, "xxxxxx"},
		"another endpoint":        {Rule{Endpoint: "nodes"}, "......"},
		"a job":                   {Rule{Job: "b"}, ".x.x.x"},
		"after some":              {Rule{Skip: 2}, "..xxxx"},
		"so many":                 {Rule{Times: 2}, "xx...."},
		"so many, after some":     {Rule{Skip: 1, Times: 3}, ".xxx.."},
		"of those that it is for": {Rule{Job: "a", Skip: 1, Times: 1}, "..x..."},
		"never by chance":         {Rule{Chance: 1e-300, Rand: rand.New(rand.NewPCG(1, 2))}, "......"},
		"always by chance":        {Rule{Chance: 1, Rand: rand.New(rand.NewPCG(1, 2))}, "xxxxxx"},
	} {
		got := ""
		for i := range 6 {
			if tt.rule.Hits("jobs", string(rune('a'+i%2))) {
				got += "x"
			} else {
				got += "."
			}
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestCountsAreOfOneOrOfAll(t *testing.T) {
	c := Counts{"jobs": 2, "nodes": 3}
	if c.Of("jobs") != 2 || c.Of("tasks") != 0 || c.Of("") != 5 {
		t.Errorf("jobs %d, tasks %d, all %d", c.Of("jobs"), c.Of("tasks"), c.Of(""))
	}
}
