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

// rayPort is where Ray's dashboard listens unless told otherwise (Ray 2.60).
const rayPort = "8265"

// Module is the way to clusters whose addresses come from elsewhere: from
// cluster_files, or from a request to /probe. Credentials are here alone, and go
// to no address but those that Targets allow.
type Module struct {
	// The addresses that this module, and its token, is for:
	// [scheme://]host[:port][/path]. Required.
	Targets []TargetPattern `yaml:"targets"`
	// An entry of clusters without name and url.
	Cluster Cluster `yaml:"cluster"`
}

func (m *Module) setDefaults() {
	m.Cluster.setDefaults()
	m.Cluster.Name = ""
}

// ClusterFiles names files that list clusters in Prometheus' file_sd form.
type ClusterFiles struct {
	// Patterns of file names, such as clusters/*.json. Required.
	Files []Path `yaml:"files"`
	// The module by which these clusters are reached. Required.
	Module string `yaml:"module"`
}

// Probes bounds what /probe holds.
type Probes struct {
	// Targets at a time; another is refused.
	Max int `yaml:"max"`
	// How long the client of a target is kept after its last probe.
	Keep Duration `yaml:"keep"`
}

// Target is the address of a cluster as it comes from elsewhere.
type Target struct {
	// Address is host:port, or an http(s) URL with an optional path prefix.
	Address string
	Name    string // "": the address in its one spelling, without scheme and Prefix
	API     string // "": the module's
	Scheme  string // of an address that is no URL; "": https for a module with tls, else http
	Prefix  string // the path prefix of an address that is no URL, such as /ray
}

// At gives the cluster that t stands for by way of module m, or tells why there
// is none. It connects to nothing and resolves no name.
func (m Module) At(t Target) (Cluster, error) {
	u, err := m.locate(t)
	if err != nil {
		return Cluster{}, err
	}
	allowed := false
	for _, p := range m.Targets {
		allowed = allowed || p.allows(u)
	}
	if !allowed {
		return Cluster{}, fmt.Errorf("the module does not allow the target %s: add it to the module's targets", bounded(u.String()))
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
		return Cluster{}, fmt.Errorf("%s %s", strings.TrimPrefix(p.Path, "."), p.Rule)
	}
	return c, nil
}

// locate makes the URL of a target.
func (m Module) locate(t Target) (*url.URL, error) {
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
		return nil, errors.New("the target is a URL: it names its scheme and path prefix itself")
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return nil, errors.New("the target must be host:port, such as ray-head:8265, or an http or https URL")
	case u.User != nil:
		return nil, errors.New("the target must not hold a user or password: credentials are the module's")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("the target must not hold a query or a fragment")
	case strings.ContainsAny(u.Host, "*?[\\%") && net.ParseIP(u.Hostname()) == nil:
		return nil, errors.New("the target's host holds characters that no host has")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if u.RawPath != "" || u.Path != "" && (path.Clean(u.Path) != u.Path || strings.ContainsAny(u.Path, "%;\\*?[")) {
		return nil, errors.New("the target's path must be plain segments, such as /some/prefix")
	}
	canonical(u)
	return u, nil
}

// TargetPattern says which addresses a module is for: [scheme://]host[:port][/path].
// The host is a name in which * stands for any text but a dot, or a network; the
// port a number, or * for any, 8265 where there is none; the path a pattern as of
// path.Match, none where there is none. Without a scheme http and https fit.
type TargetPattern struct {
	text    string
	scheme  string
	host    string       // a pattern; "" where there is a network
	network netip.Prefix // for targets that are addresses
	port    string       // "*": any
	path    string
}

// UnmarshalText takes a pattern.
func (p *TargetPattern) UnmarshalText(text []byte) error {
	out := TargetPattern{text: string(text)}
	rest := out.text
	if scheme, after, ok := strings.Cut(rest, "://"); ok {
		if scheme != "http" && scheme != "https" {
			return errors.New("must begin with http://, https:// or a host")
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
		return errors.New("has a path that is not a pattern")
	}
	if n, err := strconv.ParseUint(out.port, 10, 16); out.port != "*" && (err != nil || n == 0) {
		return errors.New("has a port that is neither a number nor *")
	}
	out.host = strings.ToLower(out.host)
	*p = out
	return nil
}

// split takes host, port and path apart.
func (p *TargetPattern) split(s string) error {
	p.port = rayPort
	if inside, after, ok := strings.Cut(strings.TrimPrefix(s, "["), "]"); ok && strings.HasPrefix(s, "[") {
		if !p.isNetwork(inside) {
			return errors.New("has no IPv6 address or network between [ and ]")
		}
		return p.tail(after)
	}
	if p.isNetwork(s) {
		return nil
	}
	if net, err := netip.ParsePrefix(s); err == nil {
		return fmt.Errorf("has address bits beyond its mask; the network is %s", net.Masked())
	}
	// 10.0.0.0/8:8265 and 10.0.0.0/8:8265/prefix: the first slash is the mask's.
	if end := strings.Index(s, ":"); end > 0 && p.isNetwork(s[:end]) {
		return p.tail(s[end:])
	}
	end := strings.IndexAny(s, ":/")
	if end < 0 {
		end = len(s)
	}
	if p.host = s[:end]; p.host == "" {
		return errors.New("has no host")
	}
	if !strings.Contains(p.host, "*") {
		p.isNetwork(p.host)
	}
	return p.tail(s[end:])
}

// tail reads [:port][/path].
func (p *TargetPattern) tail(s string) error {
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

// isNetwork notes s as a network if it is one.
func (p *TargetPattern) isNetwork(s string) bool {
	var c CIDR
	if c.UnmarshalText([]byte(s)) != nil {
		return false
	}
	p.network, p.host = c.Prefix, ""
	return true
}

// allows tells whether a target is one that p is for. Names are compared as they
// are written: one that resolves into an allowed network is not in it.
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
	// path.Match stops * at a slash; here it is to stop at a dot.
	slashed := strings.NewReplacer(".", "/")
	ok, err := path.Match(slashed.Replace(p.host), slashed.Replace(host))
	return ok && err == nil
}

// String is the pattern as it was written.
func (p TargetPattern) String() string { return p.text }

// MarshalText is String.
func (p TargetPattern) MarshalText() ([]byte, error) { return []byte(p.text), nil }
