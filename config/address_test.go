package config

import "testing"

// Equal addresses have one spelling, and one name.
func TestModule_CanonicalAddress(t *testing.T) {
	m := module(t, "head.example:*", "https://head.example:443/ray", "[::1]:*", "10.0.0.0/8:*")
	for _, same := range [][]string{
		{"head.example:80", "http://head.example", "http://head.example/", "HTTP://HEAD.example:80//", "Head.Example:080"},
		{"https://head.example/ray", "https://head.example:443/ray/", "HTTPS://Head.example/ray"},
		{"head.example:8265", "http://HEAD.EXAMPLE:08265/"},
		{"http://[::1]", "[::1]:80", "http://[0:0:0:0:0:0:0:1]:80/"},
		{"10.0.0.1:8265", "http://[::ffff:10.0.0.1]:8265", "[::FFFF:10.0.0.1]:8265"},
	} {
		var first Cluster
		for i, spelled := range same {
			c, err := m.Resolve(Target{Address: spelled})
			if err != nil {
				t.Errorf("%s: %v", spelled, err)
				continue
			}
			if i == 0 {
				first = c
			}
			if c.URL != first.URL || c.Name != first.Name {
				t.Errorf("%s is %s named %q, and %s is %s named %q", same[0], first.URL, first.Name, spelled, c.URL, c.Name)
			}
		}
	}
}
