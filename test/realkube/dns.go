//go:build linux

package realkube

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// ServeDNS serves the names of services, like the DNS of a cluster, until the test ends.
// It has no other names.
func (n *Node) ServeDNS() {
	n.T.Helper()
	conn, err := net.ListenPacket("udp", NodeIP+":53")
	if err != nil {
		n.T.Fatal(err)
	}
	done := make(chan struct{})
	n.T.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		packet := make([]byte, 4096)
		for {
			size, from, err := conn.ReadFrom(packet)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				if response, err := n.resolve(packet[:size]); err == nil {
					_, _ = conn.WriteTo(response, from) // clients retry
				}
			}
		}
	}()
}

// resolve returns the response to a DNS query.
func (n *Node) resolve(packet []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(packet); err != nil {
		return nil, err
	}
	if len(m.Questions) != 1 {
		return nil, fmt.Errorf("%d questions", len(m.Questions))
	}
	q := m.Questions[0]
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	address, err := n.address(q.Name.String())
	switch {
	case err != nil:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 5},
			Body: &dnsmessage.AResource{A: address.As4()}}}
	}
	return m.Pack()
}

// address returns the address of a service, such as raytap.ray.svc.cluster.local; of one
// without an address of its own, that of its first endpoint.
func (n *Node) address(name string) (netip.Addr, error) {
	parts := strings.Split(strings.TrimSuffix(name, ".svc.cluster.local."), ".")
	if len(parts) != 2 {
		return netip.Addr{}, fmt.Errorf("%s is not a service", name)
	}
	var service struct{ Spec struct{ ClusterIP string } }
	if err := n.Get("/api/v1/namespaces/"+parts[1]+"/services/"+parts[0], &service); err != nil {
		return netip.Addr{}, err
	}
	if service.Spec.ClusterIP != "None" {
		return netip.ParseAddr(service.Spec.ClusterIP)
	}
	var slices struct {
		Items []struct {
			Endpoints []struct{ Addresses []string }
		}
	}
	err := n.Get("/apis/discovery.k8s.io/v1/namespaces/"+parts[1]+"/endpointslices?labelSelector=kubernetes.io/service-name%3D"+parts[0], &slices)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			return netip.ParseAddr(endpoint.Addresses[0])
		}
	}
	return netip.Addr{}, fmt.Errorf("the service %s has no endpoints", name)
}
