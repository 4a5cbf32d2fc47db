package config

import (
	"slices"
	"strconv"
	"strings"
)

// The values of shipper.sources.
const (
	SourceDriver = "driver" // the driver logs of submissions
	SourceWorker = "worker" // the logs of worker processes, from node agents
)

var sources = []string{SourceDriver, SourceWorker}

// HasSource reports whether logs of a source are shipped.
func (s *Shipper) HasSource(source string) bool {
	return s.Enabled && slices.Contains(s.Sources, source)
}

// sources checks which logs are shipped, and that they can be read.
func (k *checker) sources(c *Config) {
	const at = "shipper.sources"
	if len(c.Shipper.Sources) == 0 {
		k.fail(at, "needs at least one of %s", strings.Join(sources, ", "))
	}
	for i, s := range c.Shipper.Sources {
		switch path := at + "[" + strconv.Itoa(i) + "]"; {
		case !slices.Contains(sources, s):
			k.fail(path, "must be one of %s", strings.Join(sources, ", "))
		case slices.Index(c.Shipper.Sources, s) < i:
			k.fail(path, "is listed twice")
		}
	}
	if !c.Shipper.HasSource(SourceWorker) {
		return
	}
	for i := range c.Clusters {
		k.nodeLogs("clusters["+strconv.Itoa(i)+"]", &c.Clusters[i])
	}
	for _, name := range sortedKeys(c.Modules) {
		m := c.Modules[name]
		if c.onlyKubernetes(name) {
			// The addresses of a RayCluster's own pods take the place of allow.
			m.Cluster.NodeAgents.Allow = append([]CIDR{{}}, m.Cluster.NodeAgents.Allow...)
		}
		k.nodeLogs("modules."+name+".cluster", &m.Cluster)
	}
}

// nodeLogs checks that the logs of a cluster's nodes can be read, which only node agents
// serve.
func (k *checker) nodeLogs(at string, c *Cluster) {
	token := c.Auth.Token != "" || c.Auth.TokenFile != ""
	for header := range c.Headers {
		token = token || strings.EqualFold(header, "authorization")
	}
	switch {
	case c.API == APISynapse:
		k.fail(at+".api", "a Synapse agent serves driver logs only: remove worker from shipper.sources")
	case c.NodeAgents.Mode == "off":
		k.fail(at+".node_agents.mode", "must not be off: worker in shipper.sources is read from node agents")
	case c.NodeAgents.Mode == "auto" && token && len(c.NodeAgents.Allow) == 0:
		k.fail(at+".node_agents.allow", "is required with a token: worker in shipper.sources is read from node agents, which get the token only if allow has their network, such as [10.0.0.0/8]")
	}
}
