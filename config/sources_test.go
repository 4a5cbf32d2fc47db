package config

import (
	"strings"
	"testing"
)

// The logs of workers need node agents that raytap may use.
func TestLoad_Sources(t *testing.T) {
	for name, tt := range map[string]struct {
		cluster, sources string
		want             string // the path and a part of the problem; "": none
	}{
		"the default":                   {"", "", ""},
		"drivers and workers":           {"", "[driver, worker]", ""},
		"workers alone":                 {"", "[worker]", ""},
		"none":                          {"", "[]", "shipper.sources|needs at least one of driver, worker"},
		"an unknown one":                {"", "[driver, raylet]", "shipper.sources[1]|must be one of driver, worker"},
		"one twice":                     {"", "[worker, worker]", "shipper.sources[1]|is listed twice"},
		"a token for drivers":           {"auth: {token: x}", "[driver]", ""},
		"a token without allow":         {"auth: {token: x}", "[driver, worker]", "clusters[0].node_agents.allow|is required with a token"},
		"a token file without allow":    {"auth: {token_file: /t}", "[worker]", "clusters[0].node_agents.allow|is required with a token"},
		"a header without allow":        {"headers: {authorization: Bearer x}", "[worker]", "clusters[0].node_agents.allow|is required with a token"},
		"a token with allow":            {"auth: {token: x}, node_agents: {allow: [10.0.0.0/8]}", "[worker]", ""},
		"a token for all live nodes":    {"auth: {token: x}, node_agents: {mode: \"on\"}", "[worker]", ""},
		"no node agents":                {"node_agents: {mode: \"off\"}", "[worker]", "clusters[0].node_agents.mode|must not be off"},
		"a Synapse agent":               {"api: synapse", "[worker]", "clusters[0].api|a Synapse agent serves driver logs only"},
		"a Synapse agent, driver logs ": {"api: synapse", "[driver]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			text := "clusters: [{url: \"http://ray:8265\""
			if tt.cluster != "" {
				text += ", " + tt.cluster
			}
			text += "}]\n"
			if tt.sources != "" {
				text += "shipper: {sources: " + tt.sources + "}\n"
			}
			_, err := load(t, text, environment())
			path, problem, _ := strings.Cut(tt.want, "|")
			if (err != nil) != (tt.want != "") || err != nil && !(strings.HasPrefix(err.Error(), path) && strings.Contains(err.Error(), problem)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
