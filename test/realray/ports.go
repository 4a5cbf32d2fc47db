//go:build linux

package realray

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// FreePorts returns n different free TCP ports. They are below Linux's range for
// outgoing connections, so that only another server can take one before it is used.
func FreePorts(n int) ([]int, error) {
	const low, high, tries = 20000, 32000, 1000
	seen := make(map[int]bool)
	var ports []int
	for range tries {
		if len(ports) == n {
			return ports, nil
		}
		port := low + rand.IntN(high-low)
		if seen[port] {
			continue
		}
		seen[port] = true
		if free(port) {
			ports = append(ports, port)
		}
	}
	return nil, fmt.Errorf("cannot find %d free ports between %d and %d", n, low, high)
}

func free(port int) bool {
	// Some of Ray's servers bind to all interfaces.
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
