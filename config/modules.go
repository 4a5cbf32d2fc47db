package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// Module holds the settings for clusters whose addresses come from cluster_files
// or from requests to /probe. Its credentials are sent to no address but those
// that Targets allows.
type Module struct {
	// Addresses that this module, and its token, may be used for:
	// [scheme://]host[:port][/path]. Required.
	Targets []TargetPattern `yaml:"targets"`
	// An entry of clusters, without name and url.
	Cluster Cluster `yaml:"cluster"`
}

func (m *Module) setDefaults() {
	m.Cluster.setDefaults()
	m.Cluster.Name = ""
}

// ClusterFiles are files that list clusters, in the format of Prometheus' file_sd.
type ClusterFiles struct {
	// File names or patterns, such as clusters/*.json. Required.
	Files []Path `yaml:"files"`
	// Module with the settings for these clusters. Required.
	Module string `yaml:"module"`
}

// Probes limits /probe.
type Probes struct {
	// Maximum number of targets that are kept. Requests for others get 503.
	Max int `yaml:"max"`
	// How long a target is kept after its last probe.
	Keep Duration `yaml:"keep"`
}

// Target is the address of a cluster that the configuration does not list.
type Target struct {
	// Address is host:port, or an http(s) URL with an optional path prefix.
	Address string
	Name    string // "": the canonical address, without scheme and Prefix
	API     string // "": the module's
	Scheme  string // of an address that is not a URL; "": https for a module with tls, else http
	Prefix  string // path prefix of an address that is not a URL, such as /ray
}

// Resolve returns the cluster at t with the settings of m, or an error if m does not
// allow it or it is not valid. It does not connect, and resolves no name.
func (m Module) Resolve(t Target) (Cluster, error) {
	u, err := m.parse(t)
	if err != nil {
		return Cluster{}, err
	}
	allowed := false
	for _, p := range m.Targets {
		allowed = allowed || p.allows(u)
	}
	if !allowed {
		return Cluster{}, fmt.Errorf("the target %s is not in the module's targets", bounded(u.String()))
	}
	c := m.Cluster
	c.URL = URL(u.String())
	if c.Name = t.Name; c.Name == "" {
		if c.Name = u.Host; t.Prefix == "" {
			c.Name += u.Path
		}
	}
	if t.API != "" {
		c.API = t.API
	}
	k := &checker{}
	k.cluster("", &c)
	for _, p := range k.problems {
		return Cluster{}, fmt.Errorf("%s %s", strings.TrimPrefix(p.Path, "."), p.Message)
	}
	return c, nil
}

// parse returns the URL of a target.
func (m Module) parse(t Target) (*url.URL, error) {
	address := t.Address
	if !strings.Contains(address, "://") {
		scheme := t.Scheme
		if scheme == "" {
			scheme = "http"
			if m.Cluster.TLS != (TLS{}) {
				scheme = "https"
			}
		}
		if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
			return nil, errors.New("the target must be host:port, such as ray-head:8265, or an http or https URL")
		}
		address = scheme + "://" + address + t.Prefix
	} else if t.Scheme != "" || t.Prefix != "" {
		return nil, errors.New("the target is a URL, which includes scheme and path prefix: omit these")
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return nil, errors.New("the target must be host:port, such as ray-head:8265, or an http or https URL")
	case u.User != nil:
		return nil, errors.New("the target must not contain a user or password: set credentials in the module")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("the target must not contain a query or a fragment")
	case strings.ContainsAny(u.Host, "*?[\\%") && net.ParseIP(u.Hostname()) == nil:
		return nil, errors.New("the target's host has invalid characters")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if u.RawPath != "" || u.Path != "" && (path.Clean(u.Path) != u.Path || strings.ContainsAny(u.Path, "%;\\*?[")) {
		return nil, errors.New("the target's path must be plain segments, such as /some/prefix")
	}
	canonical(u)
	return u, nil
}

// TargetPattern is a pattern for the addresses of a module:
// [scheme://]host[:port][/path]. The host is a name, in which * matches any text
// without a dot, or a network; the port is a number, * for any, or 8265 if omitted;
// the path is a pattern of path.Match. Without a scheme, http and https match.
type TargetPattern struct {
	text    string
	scheme  string
	host    string       // a pattern; "" with a network
	network netip.Prefix // for targets with an IP address
	port    string       // "*": any
	path    string
}

// UnmarshalText parses a pattern.
func (p *TargetPattern) UnmarshalText(text []byte) error {
	out := TargetPattern{text: string(text)}
	rest := out.text
	if scheme, after, ok := strings.Cut(rest, "://"); ok {
		if scheme != "http" && scheme != "https" {
			return errors.New("must start with http://, https:// or a host")
		}
		out.scheme, rest = scheme, after
	}
	if err := out.split(rest); err != nil {
		return err
	}
	if _, err := path.Match(out.host, ""); err != nil || strings.ContainsAny(out.host, "@#?[]\\/ ") {
		return errors.New("is not a host, host:port or network, such as *.ray.svc:8265 or 10.0.0.0/8")
	}
	if _, err := path.Match(out.path, ""); err != nil || strings.ContainsAny(out.path, "@#?\\ ") {
		return errors.New("has a path that is not a valid pattern")
	}
	if n, err := strconv.ParseUint(out.port, 10, 16); out.port != "*" && (err != nil || n == 0) {
		return errors.New("has a port that is not a number or *")
	}
	out.host = strings.ToLower(out.host)
	*p = out
	return nil
}

// split parses host, port and path.
func (p *TargetPattern) split(s string) error {
	p.port = dashboardPort
	if inside, after, ok := strings.Cut(strings.TrimPrefix(s, "["), "]"); ok && strings.HasPrefix(s, "[") {
		if !p.setNetwork(inside) {
			return errors.New("has no IPv6 address or network between [ and ]")
		}
		return p.setPort(after)
	}
	if p.setNetwork(s) {
		return nil
	}
	if net, err := netip.ParsePrefix(s); err == nil {
		return fmt.Errorf("has address bits beyond its mask; the network is %s", net.Masked())
	}
	// In 10.0.0.0/8:8265/prefix the first slash belongs to the network.
	if end := strings.Index(s, ":"); end > 0 && p.setNetwork(s[:end]) {
		return p.setPort(s[end:])
	}
	end := strings.IndexAny(s, ":/")
	if end < 0 {
		end = len(s)
	}
	if p.host = s[:end]; p.host == "" {
		return errors.New("has no host")
	}
	if !strings.Contains(p.host, "*") {
		p.setNetwork(p.host)
	}
	return p.setPort(s[end:])
}

// setPort parses [:port][/path].
func (p *TargetPattern) setPort(s string) error {
	head, prefix, _ := strings.Cut(s, "/")
	if prefix != "" {
		p.path = "/" + strings.TrimRight(prefix, "/")
	}
	if head == "" {
		return nil
	}
	port, ok := strings.CutPrefix(head, ":")
	if !ok {
		return errors.New("must be host:port, such as *.ray.svc:8265")
	}
	p.port = port
	return nil
}

// setNetwork sets the network, and reports whether s is one.
func (p *TargetPattern) setNetwork(s string) bool {
	var c CIDR
	if c.UnmarshalText([]byte(s)) != nil {
		return false
	}
	p.network, p.host = c.Prefix, ""
	return true
}

// allows reports whether p matches a target. A name does not match a network, even
// if it resolves to an address in it.
func (p TargetPattern) allows(u *url.URL) bool {
	port := u.Port()
	if port == "" {
		port = defaultPorts[u.Scheme]
	}
	if p.scheme != "" && p.scheme != u.Scheme || p.port != "*" && p.port != port {
		return false
	}
	if p.path != u.Path {
		if ok, _ := path.Match(p.path, u.Path); !ok {
			return false
		}
	}
	host := u.Hostname()
	if p.network.IsValid() {
		a, err := netip.ParseAddr(host)
		return err == nil && a.Zone() == "" && p.network.Contains(a.Unmap())
	}
	// * of path.Match stops at a slash; here it must stop at a dot.
	slashed := strings.NewReplacer(".", "/")
	ok, err := path.Match(slashed.Replace(p.host), slashed.Replace(host))
	return ok && err == nil
}

// String returns the pattern as it was written.
func (p TargetPattern) String() string { return p.text }

// MarshalText returns String.
func (p TargetPattern) MarshalText() ([]byte, error) { return []byte(p.text), nil }
