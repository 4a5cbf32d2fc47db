package config

import (
	"slices"
	"strconv"
	"strings"
)

// The values of shipper.sources.
const (
	SourceDriver = "driver" // the driver logs of submissions
	SourceWorker = "worker" // the logs of worker processes, from node agents, as all that follow
	SourceServe  = "serve"  // the logs of the controller and the proxies of Ray Serve
	SourceSystem = "system" // the logs of Ray's own processes
	SourceEvent  = "event"  // Ray's own events
)

var sources = []string{SourceDriver, SourceWorker, SourceServe, SourceSystem, SourceEvent}

// LogFiles select files of a source by their names.
type LogFiles struct {
	// Files to ship: names, without directory and without the number of an older
	// file, or patterns for them. Empty: all.
	Include []string `yaml:"include"`
	// Of these, files not to ship.
	Exclude []string `yaml:"exclude"`
}

// defaultServe are the logs of Serve whose lines are in no worker's log, or in one that Ray
// writes for itself. What a replica logs is in the logs of its worker, too.
func defaultServe() LogFiles {
	return LogFiles{Include: []string{"controller_*", "proxy_*"}}
}

// defaultSystem has neither dashboard_agent.log, to which each request to a node agent adds a
// line, nor the logs of the dashboard's modules. Of two raylets on a host, the second one
// writes raylet.1.out.
func defaultSystem() LogFiles {
	return LogFiles{Include: []string{
		"raylet.out", "raylet.err", "raylet.[0-9]*.out", "raylet.[0-9]*.err", "gcs_server.out", "gcs_server.err",
		"monitor.log", "monitor.out", "monitor.err", "runtime_env_setup-*.log", "dashboard.log",
	}}
}

// HasNodeLogs reports whether logs are shipped that only node agents serve.
func (s *Shipper) HasNodeLogs() bool { return s.nodeSource() != "" }

// nodeSource returns a source that is read from node agents; "" if none is.
func (s *Shipper) nodeSource() string {
	for _, source := range sources[1:] {
		if s.HasSource(source) {
			return source
		}
	}
	return ""
}

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
	k.logFiles("shipper.serve", c.Shipper.Serve)
	k.logFiles("shipper.system", c.Shipper.System)
	k.logFiles("shipper.event", c.Shipper.Event)
	source := c.Shipper.nodeSource()
	if source == "" {
		return
	}
	for i := range c.Clusters {
		k.nodeLogs("clusters["+strconv.Itoa(i)+"]", &c.Clusters[i], source)
	}
	for _, name := range sortedKeys(c.Modules) {
		m := c.Modules[name]
		if c.onlyKubernetes(name) {
			// The addresses of a RayCluster's own pods take the place of allow.
			m.Cluster.NodeAgents.Allow = append([]CIDR{{}}, m.Cluster.NodeAgents.Allow...)
		}
		k.nodeLogs("modules."+name+".cluster", &m.Cluster, source)
	}
}

// logFiles checks patterns for the names of files.
func (k *checker) logFiles(at string, files LogFiles) {
	k.filePatterns(at+".include", files.Include)
	k.filePatterns(at+".exclude", files.Exclude)
}

func (k *checker) filePatterns(at string, patterns []string) {
	for i, pattern := range patterns {
		switch at := at + "[" + strconv.Itoa(i) + "]"; {
		case pattern == "":
			k.fail(at, "must not be empty")
		case strings.Contains(pattern, "/"):
			k.fail(at, "must be for the name of a file, without its directory")
		default:
			k.pattern(at, pattern)
		}
	}
}

// nodeLogs checks that the logs of a cluster's nodes can be read, which only node agents
// serve; source is the first of those that need it.
func (k *checker) nodeLogs(at string, c *Cluster, source string) {
	token := c.Auth.Token != "" || c.Auth.TokenFile != ""
	for header := range c.Headers {
		token = token || strings.EqualFold(header, "authorization")
	}
	switch {
	case c.API == APISynapse:
		k.fail(at+".api", "a Synapse agent serves driver logs only: remove %s from shipper.sources", source)
	case c.NodeAgents.Mode == "off":
		k.fail(at+".node_agents.mode", "must not be off: %s in shipper.sources is read from node agents", source)
	case c.NodeAgents.Mode == "auto" && token && len(c.NodeAgents.Allow) == 0:
		k.fail(at+".node_agents.allow", "is required with a token: %s in shipper.sources is read from node agents, which get the token only if allow has their network, such as [10.0.0.0/8]", source)
	}
}
