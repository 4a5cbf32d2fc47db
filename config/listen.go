package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// checkListenAddress returns what is wrong with an address to listen on, "" if
// it is valid: host:port or :port. Host and port may be names; whether they exist
// is not checked here.
func checkListenAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return "must be host:port or :port, such as :9265"
	}
	if number, err := strconv.Atoi(port); err == nil && (number < 0 || number > 65535 || port[0] == '+') {
		return "has a port that is not between 0 and 65535"
	} else if err != nil && strings.Trim(strings.ToLower(port), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return "must be host:port or :port, where port is a number or a service name"
	}
	if _, err := netip.ParseAddr(host); host == "" || err == nil {
		return ""
	}
	switch {
	case strings.Trim(host, "0123456789.") == "":
		return "has a host that is not a valid IPv4 address"
	case strings.Contains(host, ":"):
		return "has a host that is not a valid IPv6 address"
	case strings.ContainsAny(host, " \t/\\@%?#[]\"'"):
		return "has invalid characters in its host: must be host:port or :port, such as :9265"
	}
	return ""
}

// isStream reports whether a path names a stream of the process or a device.
func isStream(path string) bool {
	return strings.HasPrefix(path, "/dev/") && !strings.HasPrefix(path, "/dev/shm/") ||
		strings.HasPrefix(path, "/proc/")
}
