package fake

import (
	"math/rand/v2"
	"testing"
)

func TestRule_Applies(t *testing.T) {
	for name, tt := range map[string]struct {
		rule Rule
		want string // of six requests, alternately for jobs a and b; x: the rule applies
	}{
		"all":                     {Rule{}, "xxxxxx"},
		"an endpoint":             {Rule{Endpoint: "jobs"}, "xxxxxx"},
		"another endpoint":        {Rule{Endpoint: "nodes"}, "......"},
		"a job":                   {Rule{Job: "b"}, ".x.x.x"},
		"skip":                    {Rule{Skip: 2}, "..xxxx"},
		"times":                   {Rule{Times: 2}, "xx...."},
		"skip and times":          {Rule{Skip: 1, Times: 3}, ".xxx.."},
		"skip and times of a job": {Rule{Job: "a", Skip: 1, Times: 1}, "..x..."},
		"never by chance":         {Rule{Chance: 1e-300, Rand: rand.New(rand.NewPCG(1, 2))}, "......"},
		"always by chance":        {Rule{Chance: 1, Rand: rand.New(rand.NewPCG(1, 2))}, "xxxxxx"},
	} {
		got := ""
		for i := range 6 {
			if tt.rule.Applies("jobs", string(rune('a'+i%2))) {
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

func TestCounts_Of(t *testing.T) {
	c := Counts{"jobs": 2, "nodes": 3}
	if c.Of("jobs") != 2 || c.Of("tasks") != 0 || c.Of("") != 5 {
		t.Errorf("jobs %d, tasks %d, all %d", c.Of("jobs"), c.Of("tasks"), c.Of(""))
	}
}
