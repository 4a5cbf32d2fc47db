package config

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sirupsen/logrus"
	"golang.org/x/net/http/httpguts"

	"raytap/namepattern"
	"raytap/shipper/record"
)

// The longest name of a cluster, and the most WebSockets that one raytap may
// hold: Ray's dashboard has 100 connections to its jobs API, and wedges when
// all of them are tails (Ray 2.60).
const (
	maxName  = 128
	maxTails = 90
)

// ownHeaders are those that raytap or HTTP set, and those by which Ray takes a
// client for a browser, whose POSTs it refuses (Ray 2.60).
var ownHeaders = []string{
	"host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade",
	"user-agent", "accept-encoding", "range", "origin", "referer",
}

// checker collects what is wrong with values that decoded.
type checker struct{ problems []Problem }

func (c *checker) fail(path, format string, args ...any) {
	c.problems = append(c.problems, Problem{Path: path, Rule: fmt.Sprintf(format, args...)})
}

func (c *checker) oneOf(path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		c.fail(path, "must be one of %s", strings.Join(allowed, ", "))
	}
}

func (c *checker) atLeast(path string, value, least int64) {
	if value < least {
		c.fail(path, "must be at least %d", least)
	}
}

func (c *checker) lasts(path string, value Duration, least time.Duration) {
	if value < Duration(least) {
		c.fail(path, "must be at least %s", Duration(least))
	}
}

// validate gives all that is wrong with c, without lines or values.
func (c *Config) validate() []Problem {
	k := &checker{}
	if len(c.Clusters) == 0 && len(c.ClusterFiles) == 0 && len(c.Modules) == 0 {
		k.fail("clusters", "needs at least one cluster, such as {name: prod, url: http://ray-head:8265}, or cluster_files, or modules for /probe")
	}
	if len(c.Clusters) > c.MaxClusters {
		k.fail("clusters", "holds %d clusters, and max_clusters is %d", len(c.Clusters), c.MaxClusters)
	}
	k.elsewhere(c)
	first := map[string]int{}
	for i := range c.Clusters {
		at := "clusters[" + strconv.Itoa(i) + "]"
		k.cluster(at, &c.Clusters[i])
		name := c.Clusters[i].Name
		if j, ok := first[name]; ok {
			k.fail(at+".name", "clusters[%d] has the same name %q; each cluster needs its own", j, bounded(name))
			continue
		}
		first[name] = i
	}
	if !c.Collector.Enabled && !c.Shipper.Enabled {
		k.fail("", "collector.enabled and shipper.enabled are both false: nothing is left to do")
	}
	k.collector(&c.Collector)
	k.shipper(&c.Shipper)
	k.sink(c)
	k.web(&c.Web)
	if _, err := logrus.ParseLevel(c.Log.Level); err != nil {
		k.fail("log.level", "must be one of debug, info, warning, error")
	}
	k.oneOf("log.format", c.Log.Format, "text", "json")
	return k.problems
}

func (k *checker) cluster(at string, c *Cluster) {
	switch {
	case c.Name == "":
		k.fail(at+".name", "must not be empty")
	case len(c.Name) > maxName || !utf8.ValidString(c.Name) || strings.ContainsFunc(c.Name, unicode.IsControl):
		k.fail(at+".name", "must be at most %d bytes of UTF-8 without control characters", maxName)
	}
	k.oneOf(at+".api", c.API, APIRay, APISynapse)
	k.auth(at, c)
	k.dialect(at, c)
	k.url(at+".url", c.URL)
	if c.ProxyURL != "" {
		if u, err := url.Parse(string(c.ProxyURL)); err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
			k.fail(at+".proxy_url", "must be an http, https or socks5 URL, such as http://proxy:3128")
		}
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		k.fail(at+".tls", "cert_file and key_file belong together")
	}
	if c.TLS != (TLS{}) && strings.HasPrefix(string(c.URL), "http://") {
		k.fail(at+".tls", "is set, but the cluster's url is plain http")
	}
	k.lasts(at+".timeout", c.Timeout, 100*time.Millisecond)
	k.atLeast(at+".max_concurrent", int64(c.MaxConcurrent), 1)
	if c.MaxBody < 1<<20 {
		k.fail(at+".max_body", "must be at least 1MiB")
	}
	k.oneOf(at+".node_agents.mode", c.NodeAgents.Mode, "auto", "on", "off")
}

// elsewhere checks what is about clusters that do not stand in the configuration.
func (k *checker) elsewhere(c *Config) {
	k.atLeast("max_clusters", int64(c.MaxClusters), 1)
	largest := Size(1 << 20)
	for _, cluster := range c.Clusters {
		largest = max(largest, cluster.MaxBody)
	}
	for _, name := range sortedKeys(c.Modules) {
		m, at := c.Modules[name], "modules."+name
		largest = max(largest, m.Cluster.MaxBody)
		if name == "" {
			k.fail("modules", "has an empty name")
		}
		if m.Cluster.Name != "" || m.Cluster.URL != "" {
			k.fail(at+".cluster", "must not hold name or url: they come from a file or from a request to /probe")
			continue
		}
		if len(m.Targets) == 0 {
			k.fail(at+".targets", "is required: the addresses that this module, and its token, is for, such as [\"*.ray.svc:8265\", \"10.0.0.0/8\"]")
		}
		way := m.Cluster
		if way.Name, way.URL = "module", "http://module"; way.TLS != (TLS{}) {
			way.URL = "https://module"
		}
		k.cluster(at+".cluster", &way)
	}
	if c.ResponseMemory < largest {
		k.fail("response_memory", "must be at least the largest max_body of a cluster or module (%s)", largest)
	}
	for i, f := range c.ClusterFiles {
		at := "cluster_files[" + strconv.Itoa(i) + "]"
		if len(f.Files) == 0 {
			k.fail(at+".files", "needs at least one file, such as clusters/*.json")
		}
		for j, file := range f.Files {
			if _, err := filepath.Match(string(file), ""); err != nil || file == "" {
				k.fail(at+".files["+strconv.Itoa(j)+"]", "is not a pattern of file names")
			}
		}
		if _, ok := c.Modules[f.Module]; !ok {
			k.fail(at+".module", "must name one of modules: it is the way to the clusters in these files, token and all")
		}
	}
	k.atLeast("probes.max", int64(c.Probes.Max), 1)
	k.lasts("probes.keep", c.Probes.Keep, time.Minute)
}

// dialect checks what only one of the APIs knows.
func (k *checker) dialect(at string, c *Cluster) {
	a := &c.Auth
	own := []struct {
		name, header string
		value        Secret
		file         Path
	}{{"user_token", "SYNAPSE-User", a.UserToken, a.UserTokenFile}, {"tenant", "SYNAPSE-Tenant", a.Tenant, a.TenantFile}}
	for _, o := range own {
		key := at + ".auth." + o.name
		if o.value == "" && o.file == "" {
			continue
		}
		switch {
		case c.API == APIRay:
			k.fail(at+".auth", "%s is for api: synapse; Ray's own API knows no such thing", o.name)
		case o.value != "" && o.file != "":
			k.fail(at+".auth", "%s and %s_file are given together; keep one", o.name, o.name)
		case !plainToken(o.value):
			k.fail(key, "holds spaces at an end, line breaks or other characters that a header cannot carry")
		}
		for _, header := range sortedKeys(c.Headers) {
			if strings.EqualFold(header, o.header) {
				k.fail(at+".headers."+header, "is given beside auth.%s; keep one", o.name)
			}
		}
	}
	if c.API != APISynapse {
		return
	}
	if a.Environment {
		k.fail(at+".auth.environment", "is for api: ray: a token for Ray must not go to an agent; give the agent's own by token_file")
	}
	if c.NodeAgents.Mode != "auto" || len(c.NodeAgents.Allow) > 0 {
		k.fail(at+".node_agents", "is for api: ray: a Synapse agent is asked for logs itself")
	}
}

// plainToken reports whether a header can carry a token as it stands.
func plainToken(s Secret) bool {
	return httpguts.ValidHeaderFieldValue(string(s)) && strings.TrimSpace(string(s)) == string(s)
}

// url checks the address of a cluster. No message repeats it: it may hold a
// password.
func (k *checker) url(at string, address URL) {
	u, err := url.Parse(string(address))
	switch {
	case address == "":
		k.fail(at, "is required: the address of Ray's dashboard, such as http://ray-head:8265, or of a Synapse agent")
	case err != nil && strings.Contains(string(address), "%"):
		k.fail(at, "must be an http or https URL; a %% in it is written %%25, also before the zone of an IPv6 address: http://[fe80::1%%25eth0]:8265")
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		k.fail(at, "must be an http or https URL with a host, such as http://ray-head:8265")
	case u.User != nil:
		k.fail(at, "must not hold a user or password; use auth, or headers for basic authentication")
	case u.RawQuery != "" || u.Fragment != "":
		k.fail(at, "must not hold a query or a fragment")
	}
}

func (k *checker) auth(at string, c *Cluster) {
	var given []string
	if c.Auth.Token != "" {
		given = append(given, "token")
		if !plainToken(c.Auth.Token) {
			k.fail(at+".auth.token", "holds spaces at an end, line breaks or other characters that a header cannot carry")
		}
	}
	if c.Auth.TokenFile != "" {
		given = append(given, "token_file")
	}
	if c.Auth.Environment {
		given = append(given, "environment")
	}
	if len(given) > 1 {
		k.fail(at+".auth", "%s are given together; keep one", strings.Join(given, " and "))
	}
	seen := map[string]string{}
	for _, name := range sortedKeys(c.Headers) {
		low := strings.ToLower(name)
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			k.fail(at+".headers", "%q is not the name of a header", bounded(name))
		case seen[low] != "":
			k.fail(at+".headers", "%q and %q are the same header", seen[low], name)
		case slices.Contains(ownHeaders, low) || strings.HasPrefix(low, "sec-"):
			k.fail(at+".headers."+name, "cannot be set: raytap sets it itself, or Ray would take raytap for a browser")
		case low == "authorization" && len(given) > 0:
			k.fail(at+".headers."+name, "is given beside auth.%s; keep one", given[0])
		case !httpguts.ValidHeaderFieldValue(string(c.Headers[name])):
			k.fail(at+".headers."+name, "holds line breaks or other characters that a header cannot carry")
		}
		seen[low] = name
	}
}

func (k *checker) shipper(s *Shipper) {
	k.lasts("shipper.discovery.interval", s.Discovery.Interval, 100*time.Millisecond)
	k.oneOf("shipper.discovery.backfill", s.Discovery.Backfill, "running", "all", "none")
	k.selectors("shipper.include", s.Include)
	k.selectors("shipper.exclude", s.Exclude)
	k.oneOf("shipper.protocol", s.Protocol, "auto", "websocket", "http")
	k.lasts("shipper.timeout", s.Timeout, 100*time.Millisecond)
	if s.WebSocket.MaxTails < 0 || s.WebSocket.MaxTails > maxTails {
		k.fail("shipper.websocket.max_tails", "must be 1 to %d, or 0 for the default: at 100 open tails, by anyone, Ray's jobs API hangs", maxTails)
	}
	k.atLeast("shipper.websocket.max_replay", int64(s.WebSocket.MaxReplay), 1)
	k.lasts("shipper.backoff.initial", s.Backoff.Initial, 10*time.Millisecond)
	if s.Backoff.Max < s.Backoff.Initial {
		k.fail("shipper.backoff.max", "must be at least shipper.backoff.initial (%s)", s.Backoff.Initial)
	}
	k.lasts("shipper.poll_interval", s.PollInterval, 100*time.Millisecond)
	k.lasts("shipper.lost_after", s.LostAfter, time.Second)
	k.lasts("shipper.grace_period", s.GracePeriod, 100*time.Millisecond)
	if s.Memory < 1<<20 {
		k.fail("shipper.memory", "must be at least 1MiB")
	}
	k.limits(&s.Limits, s.Memory)
	k.record(&s.Record)
	k.lasts("shipper.positions.interval", s.Positions.Interval, 100*time.Millisecond)
	for _, key := range sortedKeys(s.Labels) {
		switch at := "shipper.labels." + key; {
		case key == "" || !utf8.ValidString(key):
			k.fail("shipper.labels", "has a key that is empty or not UTF-8")
		case slices.Contains(record.ReservedKeys, key):
			k.fail(at, "is a key that records have already")
		}
	}
	for i, key := range s.Metadata {
		if key == "" {
			k.fail("shipper.metadata["+strconv.Itoa(i)+"]", "must not be empty")
		}
	}
}

func (k *checker) limits(l *Limits, memory Size) {
	const at = "shipper.limits."
	k.atLeast(at+"max_messages", l.MaxMessages, 0)
	k.atLeast(at+"max_lines", l.MaxLines, 0)
	k.atLeast(at+"max_bytes", int64(l.MaxBytes), 0)
	switch {
	case l.MaxMessageSize < 64:
		k.fail(at+"max_message_size", "must be at least 64 bytes")
	case l.MaxMessageSize > 64<<20 || l.MaxMessageSize > memory/4:
		k.fail(at+"max_message_size", "must be at most 64MiB and a quarter of shipper.memory (%s)", memory)
	}
	k.oneOf(at+"oversized", l.Oversized, "truncate", "drop")
	k.lasts(at+"interval", l.Interval, 0)
	k.oneOf(at+"on_exceeded", l.OnExceeded, "stop", "pause")
	if l.OnExceeded == "pause" && l.Interval <= 0 {
		k.fail(at+"interval", "must be longer than 0s where on_exceeded is pause: it is how long the pause lasts")
	}
}

func (k *checker) sink(c *Config) {
	f := c.Sink.File
	if f == nil {
		return
	}
	if c.Sink.Stdout != nil {
		k.fail("sink", "stdout and file are given together; keep one")
	}
	positions, _ := c.PositionsFile()
	switch {
	case f.Path == "":
		k.fail("sink.file.path", "is required: the file that records are appended to")
	case isStream(string(f.Path)):
		k.fail("sink.file.path", "is not a file but a stream or device: for standard output write stdout: {} in place of file")
	case isStream(positions):
		k.fail("shipper.positions.file", "is not a file but a stream or device")
	case filepath.Clean(positions) == filepath.Clean(string(f.Path)):
		k.fail("shipper.positions.file", "is the sink's file; it needs one of its own")
	}
	if f.Rotate.MaxSize != 0 && f.Rotate.MaxSize < 64<<10 {
		k.fail("sink.file.rotate.max_size", "must be at least 64KiB, or 0 for no bound")
	}
	if f.Rotate.MaxAge != 0 && f.Rotate.MaxAge < Duration(time.Minute) {
		k.fail("sink.file.rotate.max_age", "must be at least 1m, or 0s for no bound")
	}
	k.atLeast("sink.file.rotate.max_files", int64(f.Rotate.MaxFiles), 0)
}

func (k *checker) selectors(at string, list []Selector) {
	for i, s := range list {
		p := at + "[" + strconv.Itoa(i) + "]"
		if s.SubmissionID == "" && s.JobName == "" && len(s.Metadata) == 0 {
			k.fail(p, "matches every job; give submission_id, job_name or metadata")
		}
		k.glob(p+".submission_id", s.SubmissionID)
		k.glob(p+".job_name", s.JobName)
		for _, key := range sortedKeys(s.Metadata) {
			k.glob(p+".metadata."+key, s.Metadata[key])
		}
	}
}

func (k *checker) glob(at, pattern string) {
	if err := namepattern.Check(pattern); err != nil {
		k.fail(at, "%v", err)
	}
}

func (k *checker) web(w *Web) {
	if len(w.ListenAddresses) == 0 {
		k.fail("web.listen_addresses", "needs at least one address, such as :9265")
	}
	for i, a := range w.ListenAddresses {
		if rule := listenRule(a); rule != "" {
			k.fail("web.listen_addresses["+strconv.Itoa(i)+"]", "%s", rule)
		}
	}
	k.lasts("web.scrape_timeout_offset", w.ScrapeTimeoutOffset, 0)
	k.atLeast("web.max_concurrent_scrapes", int64(w.MaxConcurrentScrapes), 1)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
