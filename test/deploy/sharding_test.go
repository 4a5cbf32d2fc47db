package deploy

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// There is a pod for each shard, with a volume of its own, and raytap has the same
// generations as the chart. Without a value there is one shard: a StatefulSet that is
// scaled ships nothing twice.
func TestChart_Shards(t *testing.T) {
	const second = "sharding.generations[1].from=2026-12-01T12:00:00Z,sharding.generations[1].shards="
	for name, tt := range map[string]struct {
		set      string
		replicas int
		shards   string
	}{
		"the default":        {"service.port=9265", 1, "1"},
		"two":                {"sharding.generations[0].shards=2", 2, "2"},
		"three since then":   {"sharding.generations[0].shards=2," + second + "3", 3, "2 3"},
		"fewer since then":   {"sharding.generations[0].shards=3," + second + "2", 3, "3 2"},
		"the third is empty": {"sharding.replicas=2,sharding.generations[0].shards=3," + second + "2", 2, "3 2"},
		"stopped":            {"sharding.replicas=0", 0, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := render(t, "--set", tt.set)
			if err != nil {
				t.Fatal(err)
			}
			all := objects(t, text)
			set := of(t, all, "StatefulSet")
			if set.Spec.Replicas != tt.replicas || !strings.Contains(set.text, "volumeClaimTemplates:") {
				t.Errorf("%d replicas, want %d, in\n%s", set.Spec.Replicas, tt.replicas, set.text)
			}
			var config struct {
				Sharding struct {
					Shard       string
					Generations []struct{ Shards int }
				}
			}
			if err := yaml.Unmarshal([]byte(of(t, all, "ConfigMap").Data["raytap.yaml"]), &config); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, g := range config.Sharding.Generations {
				got = append(got, string(rune('0'+g.Shards)))
			}
			if strings.Join(got, " ") != tt.shards || config.Sharding.Shard != "" {
				t.Errorf("raytap has the shards %v (%q), want %s", got, config.Sharding.Shard, tt.shards)
			}
		})
	}
}

func TestChart_InvalidShards(t *testing.T) {
	const two, from = "sharding.generations[0].shards=2", ",sharding.generations[1].shards=3,sharding.generations[1].from="
	for name, tt := range map[string]struct{ set, want string }{
		"no volumes":            {two + ",persistence.enabled=false", "persistence.enabled must be true"},
		"one volume":            {two + ",persistence.existingClaim=mine", "persistence.existingClaim must not be set"},
		"none":                  {"sharding.generations[0].shards=0", "generations"},
		"no generation":         {"sharding.generations=null", "generations"},
		"a beginning":           {two + ",sharding.generations[0].from=2026-12-01T12:00:00Z", "generations[0].from must not be set"},
		"no time":               {two + ",sharding.generations[1].shards=3", "generations[1].from is required"},
		"no zone":               {two + from + "2026-12-01T12:00:00", "from"},
		"not later":             {two + from + "2026-12-01T12:00:00Z,sharding.generations[2].shards=4,sharding.generations[2].from=2026-12-01T13:00:00+01:00", "generations[2].from must be after"},
		"more pods":             {two + ",sharding.replicas=3", "sharding.replicas is 3"},
		"in two places":         {"config.sharding.shard=1", "config.sharding"},
		"fewer pods, no volume": {"sharding.replicas=1,persistence.enabled=false," + two, "persistence.enabled must be true"},
	} {
		t.Run(name, func(t *testing.T) {
			if out, err := render(t, "--set", tt.set); err == nil || !strings.Contains(err.Error()+out, tt.want) {
				t.Errorf("--set %s: %v, want %q", tt.set, err, tt.want)
			}
		})
	}
}
