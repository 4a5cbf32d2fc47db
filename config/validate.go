package config

import (
	"fmt"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sirupsen/logrus"
	"golang.org/x/net/http/httpguts"

	"raytap/httpheader"
	"raytap/namepattern"
	"raytap/shipper/record"
)

const (
	maxName = 128 // bytes of a cluster's name
	// maxTails is the maximum of websocket.max_tails: Ray's dashboard has 100
	// connections to its jobs API, and hangs when all of them are tails (Ray 2.60).
	maxTails = 90
)

// checker collects the problems of decoded values.
type checker struct{ problems []Problem }

func (c *checker) fail(path, format string, args ...any) {
	c.problems = append(c.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// enums checks the fields of a struct that have the tag enum, those of nested
// structs included. The JSON schema is generated from the same tag.
func (c *checker) enums(path string, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key := keyOf(f)
		if key == "" {
			continue
		}
		if enum := f.Tag.Get("enum"); enum != "" {
			if values := strings.Split(enum, ","); !slices.Contains(values, v.Field(i).String()) {
				c.fail(join(path, key), "must be one of %s", strings.Join(values, ", "))
			}
		} else if f.Type.Kind() == reflect.Struct {
			c.enums(join(path, key), v.Field(i))
		}
	}
}

func (c *checker) min(path string, value, lowest int64) {
	if value < lowest {
		c.fail(path, "must be at least %d", lowest)
	}
}

func (c *checker) minDuration(path string, value Duration, shortest time.Duration) {
	if value < Duration(shortest) {
		c.fail(path, "must be at least %s", Duration(shortest))
	}
}

// validate returns all problems of c, without lines and values.
func (c *Config) validate() []Problem {
	k := &checker{}
	if len(c.Clusters) == 0 && len(c.ClusterFiles) == 0 && len(c.Modules) == 0 && c.Kubernetes == nil {
		k.fail("clusters", "needs at least one cluster, such as {name: prod, url: http://ray-head:8265}, or cluster_files, or kubernetes, or modules for /probe")
	}
	if len(c.Clusters) > c.MaxClusters && len(c.Sharding.Generations) == 0 { // a limit of each shard
		k.fail("clusters", "has %d clusters, but max_clusters is %d", len(c.Clusters), c.MaxClusters)
	}
	k.dynamicClusters(c)
	k.sharding(c)
	k.kubernetes(c)
	first := map[string]int{}
	for i := range c.Clusters {
		at := "clusters[" + strconv.Itoa(i) + "]"
		k.cluster(at, &c.Clusters[i])
		name := c.Clusters[i].Name
		if j, ok := first[name]; ok {
			k.fail(at+".name", "clusters[%d] has the same name %q; names must be unique", j, bounded(name))
			continue
		}
		first[name] = i
	}
	if !c.Collector.Enabled && !c.Shipper.Enabled {
		k.fail("", "collector.enabled and shipper.enabled are both false: enable at least one")
	}
	k.collector(&c.Collector)
	k.shipper(&c.Shipper)
	k.sources(c)
	k.sink(c)
	k.web(&c.Web)
	if _, err := logrus.ParseLevel(c.Log.Level); err != nil {
		k.fail("log.level", "must be one of debug, info, warning, error")
	}
	k.enums("log", reflect.ValueOf(&c.Log).Elem())
	return k.problems
}

func (k *checker) cluster(at string, c *Cluster) {
	switch {
	case c.Name == "":
		k.fail(at+".name", "must not be empty")
	case len(c.Name) > maxName || !utf8.ValidString(c.Name) || strings.ContainsFunc(c.Name, unicode.IsControl):
		k.fail(at+".name", "must be at most %d bytes of UTF-8 without control characters", maxName)
	}
	k.enums(at, reflect.ValueOf(c).Elem())
	k.auth(at, c)
	k.apiSpecific(at, c)
	k.url(at+".url", c.URL)
	if c.ProxyURL != "" {
		if u, err := url.Parse(string(c.ProxyURL)); err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
			k.fail(at+".proxy_url", "must be an http, https or socks5 URL, such as http://proxy:3128")
		}
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		k.fail(at+".tls", "cert_file and key_file must be set together")
	}
	if c.TLS != (TLS{}) && strings.HasPrefix(string(c.URL), "http://") {
		k.fail(at+".tls", "is set, but the url of the cluster is http")
	}
	k.minDuration(at+".timeout", c.Timeout, 100*time.Millisecond)
	k.min(at+".max_concurrent", int64(c.MaxConcurrent), 1)
	if c.MaxBody < 1<<20 {
		k.fail(at+".max_body", "must be at least 1MiB")
	}
}

// dynamicClusters checks modules, cluster_files and probes: the settings of clusters
// that the configuration does not list.
func (k *checker) dynamicClusters(c *Config) {
	k.min("max_clusters", int64(c.MaxClusters), 1)
	k.minDuration("ended_clusters.keep", c.EndedClusters.Keep, 0)
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
			k.fail(at+".cluster", "must not have name or url: they come from cluster_files, from Kubernetes or from requests to /probe")
			continue
		}
		if len(m.Targets) == 0 && !c.onlyKubernetes(name) {
			k.fail(at+".targets", "is required: the addresses that this module, and its token, may be used for, such as [\"*.ray.svc:8265\", \"10.0.0.0/8\"]")
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
				k.fail(at+".files["+strconv.Itoa(j)+"]", "is not a valid file name pattern")
			}
		}
		if _, ok := c.Modules[f.Module]; !ok {
			k.fail(at+".module", "must be the name of one of modules, which has the settings for the clusters in these files")
		}
	}
	k.min("probes.max", int64(c.Probes.Max), 1)
	k.minDuration("probes.keep", c.Probes.Keep, time.Minute)
}

// apiSpecific checks the keys that only one of the APIs has.
func (k *checker) apiSpecific(at string, c *Cluster) {
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
			k.fail(at+".auth", "%s is only for api: synapse", o.name)
		case o.value != "" && o.file != "":
			k.fail(at+".auth", "%s and %s_file are both set; keep one", o.name, o.name)
		case !plainToken(o.value):
			k.fail(key, "has leading or trailing spaces, line breaks or other characters that are invalid in a header")
		}
		for _, header := range sortedKeys(c.Headers) {
			if strings.EqualFold(header, o.header) {
				k.fail(at+".headers."+header, "and auth.%s are both set; keep one", o.name)
			}
		}
	}
	if c.API != APISynapse {
		return
	}
	if a.Environment {
		k.fail(at+".auth.environment", "is only for api: ray: a token for Ray must not be sent to a Synapse agent; use token_file for the agent's token")
	}
	if c.NodeAgents.Mode != "auto" || len(c.NodeAgents.Allow) > 0 {
		k.fail(at+".node_agents", "is only for api: ray: a Synapse agent serves logs itself")
	}
}

// plainToken reports whether a token is a valid header value.
func plainToken(s Secret) bool {
	return httpguts.ValidHeaderFieldValue(string(s)) && strings.TrimSpace(string(s)) == string(s)
}

// url checks the address of a cluster. Messages do not contain it: it may have a
// password.
func (k *checker) url(at string, address URL) {
	u, err := url.Parse(string(address))
	switch {
	case address == "":
		k.fail(at, "is required: the address of Ray's dashboard, such as http://ray-head:8265, or of a Synapse agent")
	case err != nil && strings.Contains(string(address), "%"):
		k.fail(at, "must be an http or https URL; write %% as %%25, also before the zone of an IPv6 address: http://[fe80::1%%25eth0]:8265")
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		k.fail(at, "must be an http or https URL with a host, such as http://ray-head:8265")
	case u.User != nil:
		k.fail(at, "must not contain a user or password; use auth, or headers for basic authentication")
	case u.RawQuery != "" || u.Fragment != "":
		k.fail(at, "must not contain a query or a fragment")
	}
}

func (k *checker) auth(at string, c *Cluster) {
	var set []string
	if c.Auth.Token != "" {
		set = append(set, "token")
		if !plainToken(c.Auth.Token) {
			k.fail(at+".auth.token", "has leading or trailing spaces, line breaks or other characters that are invalid in a header")
		}
	}
	if c.Auth.TokenFile != "" {
		set = append(set, "token_file")
	}
	if c.Auth.Environment {
		set = append(set, "environment")
	}
	if len(set) > 1 {
		k.fail(at+".auth", "%s are both set; keep one", strings.Join(set, " and "))
	}
	seen := map[string]string{}
	for _, name := range sortedKeys(c.Headers) {
		low := strings.ToLower(name)
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			k.fail(at+".headers", "%q is not a valid header name", bounded(name))
		case seen[low] != "":
			k.fail(at+".headers", "%q and %q are the same header", seen[low], name)
		case httpheader.Reserved(name):
			k.fail(at+".headers."+name, "cannot be set: raytap sets it, or Ray treats clients with it as browsers")
		case low == "authorization" && len(set) > 0:
			k.fail(at+".headers."+name, "and auth.%s are both set; keep one", set[0])
		case !httpguts.ValidHeaderFieldValue(string(c.Headers[name])):
			k.fail(at+".headers."+name, "has line breaks or other characters that are invalid in a header")
		}
		seen[low] = name
	}
}

func (k *checker) shipper(s *Shipper) {
	k.enums("shipper", reflect.ValueOf(s).Elem())
	k.minDuration("shipper.discovery.interval", s.Discovery.Interval, 100*time.Millisecond)
	k.selectors("shipper.include", s.Include)
	k.selectors("shipper.exclude", s.Exclude)
	k.minDuration("shipper.timeout", s.Timeout, 100*time.Millisecond)
	if s.WebSocket.MaxTails < 0 || s.WebSocket.MaxTails > maxTails {
		k.fail("shipper.websocket.max_tails", "must be 1 to %d, or 0 for the default: Ray's jobs API hangs at 100 open tails of all clients", maxTails)
	}
	k.min("shipper.websocket.max_replay", int64(s.WebSocket.MaxReplay), 1)
	k.minDuration("shipper.backoff.initial", s.Backoff.Initial, 10*time.Millisecond)
	if s.Backoff.Max < s.Backoff.Initial {
		k.fail("shipper.backoff.max", "must be at least shipper.backoff.initial (%s)", s.Backoff.Initial)
	}
	k.minDuration("shipper.poll_interval", s.PollInterval, 100*time.Millisecond)
	k.minDuration("shipper.lost_after", s.LostAfter, time.Second)
	k.minDuration("shipper.grace_period", s.GracePeriod, 100*time.Millisecond)
	if s.Memory < 1<<20 {
		k.fail("shipper.memory", "must be at least 1MiB")
	}
	k.limits(&s.Limits, s.Memory)
	k.record(&s.Record)
	k.minDuration("shipper.positions.interval", s.Positions.Interval, 100*time.Millisecond)
	for _, key := range sortedKeys(s.Labels) {
		switch at := "shipper.labels." + key; {
		case key == "" || !utf8.ValidString(key):
			k.fail("shipper.labels", "has an empty key, or one that is not UTF-8")
		case slices.Contains(record.ReservedKeys, key):
			k.fail(at, "is a reserved key of records")
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
	k.min(at+"max_messages", l.MaxMessages, 0)
	k.min(at+"max_lines", l.MaxLines, 0)
	k.min(at+"max_bytes", int64(l.MaxBytes), 0)
	switch {
	case l.MaxMessageSize < 64:
		k.fail(at+"max_message_size", "must be at least 64 bytes")
	case l.MaxMessageSize > 64<<20 || l.MaxMessageSize > memory/4:
		k.fail(at+"max_message_size", "must be at most 64MiB and a quarter of shipper.memory (%s)", memory)
	}
	k.minDuration(at+"interval", l.Interval, 0)
	if l.OnExceeded == "pause" && l.Interval <= 0 {
		k.fail(at+"interval", "must be longer than 0s with on_exceeded: pause, which pauses until its end")
	}
}

func (k *checker) sink(c *Config) {
	f := c.Sink.File
	if f == nil {
		return
	}
	if c.Sink.Stdout != nil {
		k.fail("sink", "stdout and file are both set; keep one")
	}
	positions, _ := c.PositionsFile()
	switch {
	case f.Path == "":
		k.fail("sink.file.path", "is required: the file that records are appended to")
	case isStream(string(f.Path)):
		k.fail("sink.file.path", "is a stream or device, not a file; for standard output write stdout: {} instead of file")
	case isStream(positions):
		k.fail("shipper.positions.file", "is a stream or device, not a file")
	case filepath.Clean(positions) == filepath.Clean(string(f.Path)):
		k.fail("shipper.positions.file", "is the file of the sink; use another")
	}
	if f.Rotate.MaxSize != 0 && f.Rotate.MaxSize < 64<<10 {
		k.fail("sink.file.rotate.max_size", "must be at least 64KiB, or 0 for no limit")
	}
	if f.Rotate.MaxAge != 0 && f.Rotate.MaxAge < Duration(time.Minute) {
		k.fail("sink.file.rotate.max_age", "must be at least 1m, or 0s for no limit")
	}
	k.min("sink.file.rotate.max_files", int64(f.Rotate.MaxFiles), 0)
}

func (k *checker) selectors(at string, list []Selector) {
	for i, s := range list {
		p := at + "[" + strconv.Itoa(i) + "]"
		if s.SubmissionID == "" && s.JobName == "" && len(s.Metadata) == 0 {
			k.fail(p, "matches every job; set submission_id, job_name or metadata")
		}
		k.pattern(p+".submission_id", s.SubmissionID)
		k.pattern(p+".job_name", s.JobName)
		for _, key := range sortedKeys(s.Metadata) {
			k.pattern(p+".metadata."+key, s.Metadata[key])
		}
	}
}

func (k *checker) pattern(at, pattern string) {
	if err := namepattern.Check(pattern); err != nil {
		k.fail(at, "%v", err)
	}
}

func (k *checker) web(w *Web) {
	if len(w.ListenAddresses) == 0 {
		k.fail("web.listen_addresses", "needs at least one address, such as :9265")
	}
	for i, a := range w.ListenAddresses {
		if problem := checkListenAddress(a); problem != "" {
			k.fail("web.listen_addresses["+strconv.Itoa(i)+"]", "%s", problem)
		}
	}
	k.minDuration("web.scrape_timeout_offset", w.ScrapeTimeoutOffset, 0)
	k.min("web.max_concurrent_scrapes", int64(w.MaxConcurrentScrapes), 1)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
