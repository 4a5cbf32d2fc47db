package config

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// listenRule returns what is wrong with an address to listen on, "" where it is
// right: host:port, :port, or vsock://:PORT. A port may be a name such as http,
// and a host a name; whether there are such is the machine's to tell.
func listenRule(address string) string {
	if strings.HasPrefix(address, "vsock://") {
		u, err := url.Parse(address)
		if err == nil {
			_, err = strconv.ParseUint(u.Port(), 10, 32)
		}
		if err != nil {
			return "must be vsock://:PORT, such as vsock://:9265"
		}
		return ""
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return "must be host:port or :port, such as :9265"
	}
	if number, err := strconv.Atoi(port); err == nil && (number < 0 || number > 65535 || port[0] == '+') {
		return "has a port that is not between 0 and 65535"
	} else if err != nil && strings.Trim(strings.ToLower(port), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return "must be host:port or :port, where port is a number or the name of one"
	}
	if _, err := netip.ParseAddr(host); host == "" || err == nil {
		return ""
	}
	switch {
	case strings.Trim(host, "0123456789.") == "":
		return "has a host that looks like an IPv4 address and is none"
	case strings.Contains(host, ":"):
		return "has a host that looks like an IPv6 address and is none"
	case strings.ContainsAny(host, " \t/\\@%?#[]\"'"):
		return "has a host with characters that no host has: it must be host:port or :port, such as :9265"
	}
	return ""
}

// isStream reports whether a path is the name of a stream of the process or of a
// device: what it stands for depends on who opens it.
func isStream(path string) bool {
	return strings.HasPrefix(path, "/dev/") && !strings.HasPrefix(path, "/dev/shm/") ||
		strings.HasPrefix(path, "/proc/")
}
