package config

import (
	"strings"
	"testing"
)

func TestLoad_Sharding(t *testing.T) {
	for name, tt := range map[string]struct {
		shard, sharding string
		want            []string // the path and a part of each problem
	}{
		"one generation":         {"", "{generations: [{shards: 2}]}", nil},
		"three":                  {"", "{shard: auto, generations: [{shards: 2}, {shards: 3, from: 2026-12-01T12:00:00Z}, {shards: 1, from: 2026-12-01T13:00:01+01:00}]}", nil},
		"a number":               {"", "{shard: 1, generations: [{shards: 2}]}", nil},
		"a cluster by hand":      {"1", "{generations: [{shards: 2}]}", nil},
		"a shard of the past":    {"2", "{shard: 2, generations: [{shards: 3}, {shards: 2, from: 2026-12-01T12:00:00Z}]}", nil},
		"no shards":              {"", "{generations: [{shards: 0}]}", []string{"sharding.generations[0].shards|must be 1 to 1000"}},
		"too many":               {"", "{generations: [{shards: 1001}]}", []string{"sharding.generations[0].shards|must be 1 to 1000"}},
		"a beginning":            {"", "{generations: [{shards: 2, from: 2026-12-01T12:00:00Z}]}", []string{"sharding.generations[0].from|must not be set"}},
		"no time":                {"", "{generations: [{shards: 2}, {shards: 3}]}", []string{"sharding.generations[1].from|is required"}},
		"no zone":                {"", "{generations: [{shards: 2}, {shards: 3, from: 2026-12-01 12:00}]}", []string{"sharding.generations[1].from|is not a time with its zone"}},
		"the same time":          {"", "{generations: [{shards: 2}, {shards: 3, from: 2026-12-01T12:00:00Z}, {shards: 4, from: 2026-12-01T13:00:00+01:00}]}", []string{"sharding.generations[2].from|must be after"}},
		"not a number":           {"", "{shard: first, generations: [{shards: 2}]}", []string{"sharding.shard|must be auto, or the number"}},
		"negative":               {"-1", "{generations: [{shards: 2}]}", []string{"clusters[0].shard|must be auto, or the number"}},
		"a number that is none":  {"2", "{shard: 3, generations: [{shards: 2}]}", []string{"sharding.shard|has the shards 0 to 1", "clusters[0].shard|has the shards 0 to 1"}},
		"numbers without shards": {"0", "{shard: 0}", []string{"sharding.shard|needs sharding.generations", "clusters[0].shard|needs sharding.generations"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := "clusters: [{url: \"http://ray:8265\""
			if tt.shard != "" {
				text += ", shard: " + tt.shard
			}
			c, err := load(t, text+"}]\nsharding: "+tt.sharding+"\n", environment())
			if (err != nil) != (tt.want != nil) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			for _, want := range tt.want {
				path, problem, _ := strings.Cut(want, "|")
				if !strings.Contains(err.Error(), path+": ") || !strings.Contains(err.Error(), problem) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
			if err == nil {
				again, err := load(t, c.Redacted(), environment())
				if err != nil || again.Redacted() != c.Redacted() {
					t.Errorf("what is shown cannot be loaded: %v\n%s", err, c.Redacted())
				}
			}
		})
	}
}
