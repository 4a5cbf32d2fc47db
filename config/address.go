package config

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// defaultPorts are the ports that a URL may omit.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// canonical changes u to the one spelling of its address: the host in lower
// case, an IP address as in RFC 5952, the port without leading zeros and omitted
// if it is the scheme's default, no slash at the end.
func canonical(u *url.URL) {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if a, err := netip.ParseAddr(host); err == nil {
		host = a.Unmap().String()
	}
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		port = strconv.FormatUint(n, 10)
	}
	u.Scheme = strings.ToLower(u.Scheme)
	switch {
	case port != "" && port != defaultPorts[u.Scheme]:
		u.Host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		u.Host = "[" + host + "]"
	default:
		u.Host = host
	}
	u.Path = strings.TrimRight(u.Path, "/")
}
