package dashboard

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"raytap/ray"
	"raytap/ray/transport"
)

const (
	liveTTL           = 30 * time.Second // how long the list of live nodes is valid
	liveRetryInterval = 5 * time.Second  // minimum time between two requests for that list
	hostTTL           = 30 * time.Second // how long the addresses of the API host are valid
	maxAgents         = 4096             // clients kept
)

// agentRegistry caches which addresses belong to node agents, and one client for each
// agent used. The zero value is ready; it is safe for concurrent use.
type agentRegistry struct {
	mu      sync.Mutex
	clients map[agentKey]*transport.Client

	refreshing  chan struct{} // created at first use; holds an element while a request for the nodes runs
	live        map[netip.Addr]bool
	refreshedAt time.Time // when the last request for the nodes ended
	refreshErr  error     // of that request

	host           map[netip.Addr]bool
	hostResolvedAt time.Time
}

type agentKey struct {
	addr    netip.AddrPort
	trusted bool
}

// client returns the only client of an agent: its slots limit concurrent requests.
func (b *agentRegistry) client(t *transport.Client, addr netip.AddrPort, trusted bool) (*transport.Client, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := agentKey{addr, trusted}
	if c := b.clients[key]; c != nil {
		return c, nil
	}
	c, err := t.WithBaseURL("http://"+addr.String(), trusted)
	if err != nil {
		return nil, &ray.Error{Op: opNodeAgentLog, Code: http.StatusBadRequest, Detail: "the node agent's address cannot be used", Err: err}
	}
	if b.clients == nil || len(b.clients) >= maxAgents {
		b.clients = map[agentKey]*transport.Client{}
	}
	b.clients[key] = c
	return c, nil
}

// isLive reports whether a live node has this address. It queries the list again
// when it has expired, and, at a bounded rate, when the address is not in it.
func (b *agentRegistry) isLive(ctx context.Context, query func(context.Context) (map[netip.Addr]bool, error), ip netip.Addr) (bool, error) {
	slot := b.refreshSlot()
	select {
	case slot <- struct{}{}:
		defer func() { <-slot }()
	case <-ctx.Done():
		return false, &ray.Error{Op: opNodeAgentLog, Code: http.StatusRequestTimeout, Detail: "another request for the node list was still running", Err: ctx.Err()}
	}
	b.mu.Lock()
	live, refreshedAt, refreshErr := b.live, b.refreshedAt, b.refreshErr
	b.mu.Unlock()
	age := time.Since(refreshedAt)
	switch {
	case age < liveRetryInterval && !refreshedAt.IsZero():
		return refreshErr == nil && live[ip], refreshErr
	case refreshErr == nil && live[ip] && age < liveTTL:
		return true, nil
	}
	live, err := query(ctx)
	if err != nil && ctx.Err() != nil {
		return false, err // not cached: only this caller's context ended
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.live, b.refreshedAt, b.refreshErr = live, time.Now(), err
	return err == nil && live[ip], err
}

func (b *agentRegistry) refreshSlot() chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refreshing == nil {
		b.refreshing = make(chan struct{}, 1)
	}
	return b.refreshing
}

// isHost reports whether an address belongs to the host. If the host is a loopback
// address, every address of this machine does: a local Ray reports the machine's
// address for its agent even when its dashboard listens on loopback (2.60.0).
func (b *agentRegistry) isHost(ctx context.Context, host string, ip netip.Addr) bool {
	b.mu.Lock()
	known, at := b.host, b.hostResolvedAt
	b.mu.Unlock()
	if !at.IsZero() && time.Since(at) < hostTTL {
		return known[ip]
	}
	found := hostAddresses(ctx, host)
	if ctx.Err() != nil {
		return known[ip]
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.host, b.hostResolvedAt = found, time.Now()
	return found[ip]
}

// hostAddresses resolves a host name or an IP address; nil if it cannot be resolved.
func hostAddresses(ctx context.Context, host string) map[netip.Addr]bool {
	found := map[netip.Addr]bool{}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host) // an IP address resolves to itself
	if err != nil {
		return nil
	}
	loopback := false
	for _, ip := range ips {
		found[ip.Unmap()] = true
		loopback = loopback || ip.Unmap().IsLoopback()
	}
	if !loopback {
		return found
	}
	found[netip.AddrFrom4([4]byte{127, 0, 0, 1})], found[netip.IPv6Loopback()] = true, true
	own, err := net.InterfaceAddrs()
	if err != nil {
		return found
	}
	for _, a := range own {
		if network, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(network.IP); ok {
				found[ip.Unmap()] = true
			}
		}
	}
	return found
}
