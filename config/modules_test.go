package config

import (
	"strings"
	"testing"
)

// module returns a module for some targets.
func module(t *testing.T, targets ...string) Module {
	t.Helper()
	var m Module
	m.setDefaults()
	m.Cluster.Auth.Token = "open sesame"
	for _, s := range targets {
		var p TargetPattern
		if err := p.UnmarshalText([]byte(s)); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		m.Targets = append(m.Targets, p)
	}
	return m
}

func TestModule_Targets(t *testing.T) {
	for name, tt := range map[string]struct {
		allowed string // patterns, apart by spaces
		yes, no string // targets, apart by spaces
	}{
		"name with default port": {"ray-head",
			"ray-head:8265 http://ray-head:8265 https://RAY-head:8265/ ray-HEAD:8265",
			"ray-head:80 http://ray-head https://ray-head ray-head.evil:8265 evil:8265 ray-head:8265/x"},
		"star does not match a dot": {"ray-*.prod.svc:8265",
			"ray-1.prod.svc:8265 ray-.prod.svc:8265",
			"ray-1.evil.prod.svc:8265 ray-1.prod.svc.evil:8265 xray-1.prod.svc:8265 ray-1.prod.svc:8266"},
		"any port": {"ray-head:*", "ray-head:1 http://ray-head https://ray-head", "other:1"},
		"network matches addresses only": {"10.0.0.0/8",
			"10.1.2.3:8265 http://10.1.2.3:8265 http://[::ffff:10.1.2.3]:8265",
			"11.1.2.3:8265 10.evil:8265 10.1.2.3.evil:8265 10.1.2.3:80 0x0a010203:8265"},
		"a network with a port": {"10.0.0.0/8:80 192.168.1.1:443", "10.1.2.3:80 https://192.168.1.1", "10.1.2.3:8265 192.168.1.2:443"},
		"IPv6":                  {"fd00::/8 [fe80::1]:9000", "[fd00::5]:8265 [fe80::1]:9000", "[fe80::2]:9000 [fd00::5]:9000 [fd00::5%25eth0]:8265"},
		"a scheme":              {"https://ray:443", "https://ray https://ray:443", "http://ray:443 ray:443"},
		"a path": {"https://ingress:443/ray/*",
			"https://ingress/ray/a https://ingress/ray/a/",
			"https://ingress/ray https://ingress/ray/a/b https://ingress/other https://ingress https://ingress/ray/../x https://ingress/ray/%2e%2e https://ingress/ray//a"},
		"nothing that hides the host": {"ray",
			"",
			"http://ray@evil:8265 http://evil:8265#ray:8265 http://evil:8265?ray:8265 http://ray:8265@evil:8265 http://ray\\@evil:8265 file://ray/etc ray " +
				"http://evil:8265/@ray:8265 ://ray:8265 http:///ray:8265 *:8265"},
		"star does not match invalid hosts": {"*:8265", "anything:8265", "*:8265 a%2eb:8265 [a]:8265 :8265"},
	} {
		t.Run(name, func(t *testing.T) {
			m := module(t, strings.Fields(tt.allowed)...)
			for _, target := range strings.Fields(tt.yes) {
				if c, err := m.Resolve(Target{Address: target}); err != nil || c.Auth.Token != "open sesame" {
					t.Errorf("%s: %v", target, err)
				}
			}
			for _, target := range strings.Fields(tt.no) {
				if c, err := m.Resolve(Target{Address: target}); err == nil {
					t.Errorf("%s is allowed, as %s", target, string(c.URL))
				} else if strings.Contains(err.Error(), "sesame") {
					t.Error(err)
				}
			}
		})
	}
}

func TestModule_Resolve(t *testing.T) {
	plain, secure := module(t, "*:*", "https://*:*/p"), module(t, "*:*", "https://*:*/p")
	secure.Cluster.TLS.CAFile = "/ca.pem"
	for name, tt := range map[string]struct {
		m    Module
		t    Target
		want string // name and address, or a part of the error
	}{
		"an address":                    {plain, Target{Address: "a:1"}, "a:1 http://a:1"},
		"a name of its own":             {plain, Target{Address: "a:1", Name: "prod"}, "prod http://a:1"},
		"https for a module with tls":   {secure, Target{Address: "a:1"}, "a:1 https://a:1"},
		"http with tls":                 {secure, Target{Address: "a:1", Scheme: "http"}, "tls is set, but the url of the cluster is http"},
		"http URL with tls":             {secure, Target{Address: "http://a:1"}, "the url of the cluster is http"},
		"a scheme and a prefix":         {plain, Target{Address: "a:1", Scheme: "https", Prefix: "/p/"}, "a:1 https://a:1/p"},
		"a URL":                         {plain, Target{Address: "https://a:1/p"}, "a:1/p https://a:1/p"},
		"URL and scheme":                {plain, Target{Address: "https://a:1", Scheme: "https"}, "includes scheme and path prefix"},
		"unknown API":                   {plain, Target{Address: "a:1", API: "graphql"}, "api must be one of"},
		"control character in the name": {plain, Target{Address: "a:1", Name: "a\nb"}, "name must be"},
		"no port":                       {plain, Target{Address: "a"}, "must be host:port"},
		"nothing":                       {plain, Target{}, "must be host:port"},
		"user in the prefix":            {plain, Target{Address: "a:1", Prefix: "@evil:8265"}, "user or password"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := tt.m.Resolve(tt.t)
			got := c.Name + " " + string(c.URL)
			if err != nil {
				got = err.Error()
			}
			if got != tt.want && (err == nil || !strings.Contains(got, tt.want)) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzModule_Resolve(f *testing.F) {
	for _, s := range []string{"ray:8265", "http://ray:8265/", "http://ray@evil:8265", "http://evil#@ray:8265", "//ray:8265", "ray:8265\\@evil"} {
		f.Add(s, "")
	}
	f.Add("ray:8265", "@evil")
	var m Module
	m.setDefaults()
	m.Targets = make([]TargetPattern, 1)
	if err := m.Targets[0].UnmarshalText([]byte("ray:8265")); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, address, prefix string) {
		c, err := m.Resolve(Target{Address: address, Prefix: prefix})
		if err == nil && string(c.URL) != "http://ray:8265" && string(c.URL) != "https://ray:8265" {
			t.Errorf("%q with %q became %s", address, prefix, string(c.URL))
		}
	})
}
