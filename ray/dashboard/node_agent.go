package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"raytap/ray"
	"raytap/ray/transport"
)

const (
	opNodeAgentLog    = "read log from node agent"
	endpointNodeAgent = "agent /logs/{file}" // of a node agent, not of the dashboard
)

// AgentLog reads a job's log from an offset on, from the agent of the node where
// the log is stored: raw bytes, at no cost to the head. An offset at or past the
// end of the file returns an empty body and the file's size.
//
// The agent must be one that NodeAgents allows; otherwise the error has code 403
// and one of the reasons that are a ray.ErrTransportNotAllowed in its chain. The
// request goes to the agent directly, without a proxy, and carries the token and
// the configured headers only where NodeAgents allows it. A long body has no
// deadline, but ends when no bytes arrive for the client's timeout. Code 404:
// the agent has no such file.
func (c *Client) AgentLog(ctx context.Context, ref ray.LogRef, from int64) (ray.LogRange, error) {
	agent, err := c.agentClient(ctx, ref.AgentURL)
	if err != nil {
		return ray.LogRange{}, err
	}
	res, err := agent.Do(ctx, transport.Request{
		Op: opNodeAgentLog, Endpoint: endpointNodeAgent, Stream: true,
		Path:        "/logs/" + url.PathEscape(logFile(ref.SubmissionID)),
		Header:      http.Header{"Range": {fmt.Sprintf("bytes=%d-", from)}},
		AllowStatus: []int{http.StatusRequestedRangeNotSatisfiable},
	})
	if err != nil {
		return ray.LogRange{}, err
	}
	if err := rejectHTML(res, opNodeAgentLog); err != nil {
		return ray.LogRange{}, err
	}
	part, ok := parseRange(res, from)
	if !ok {
		_ = res.Body.Close()
		return ray.LogRange{}, errNoRange(res)
	}
	return part, nil
}

func errNoRange(res *http.Response) error {
	return &ray.Error{Op: opNodeAgentLog, Code: http.StatusInternalServerError, Status: res.StatusCode,
		Detail: "the response states neither the byte range nor the file size: check that the address is a Ray node agent"}
}

// parseRange returns the byte range that a response to a Range request holds.
func parseRange(res *http.Response, from int64) (ray.LogRange, bool) {
	part := ray.LogRange{Body: res.Body}
	header := res.Header.Get("Content-Range")
	switch res.StatusCode {
	case http.StatusPartialContent:
		first, size, ok := parseContentRange(header)
		part.Offset, part.Size = first, size
		return part, ok
	case http.StatusRequestedRangeNotSatisfiable:
		size, err := strconv.ParseInt(strings.TrimPrefix(header, "bytes */"), 10, 64)
		_ = res.Body.Close()
		part.Body, part.Offset, part.Size = http.NoBody, from, size
		return part, err == nil && strings.HasPrefix(header, "bytes */") && size >= 0
	}
	part.Size = res.ContentLength // 200: the Range was ignored
	return part, part.Size >= 0
}

// parseContentRange parses "bytes 150-165/166".
func parseContentRange(s string) (first, size int64, ok bool) {
	span, total, ok1 := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	start, _, ok2 := strings.Cut(span, "-")
	first, err1 := strconv.ParseInt(start, 10, 64)
	size, err2 := strconv.ParseInt(total, 10, 64)
	return first, size, ok1 && ok2 && err1 == nil && err2 == nil && first >= 0 && first < size
}

// agentClient returns the transport to a node agent, or the reason why it must not be
// used.
func (c *Client) agentClient(ctx context.Context, raw string) (*transport.Client, error) {
	if c.nodeAgents.Mode == NodeAgentsOff {
		return nil, notAllowed(ray.ErrAgentsDisabled, "node agents are disabled (node_agents.mode)")
	}
	addr, err := agentAddress(raw)
	if err != nil {
		return nil, notAllowed(ray.ErrAgentAddress, err.Error())
	}
	trusted, err := c.authorizeAgent(ctx, addr.Addr())
	if err != nil {
		return nil, err
	}
	return c.agents.client(c.t, addr, trusted)
}

// authorizeAgent applies the rule of NodeAgents to an address, and reports whether
// it may receive the token.
//
//	own nodes are known: these
//	auto, token:    in allow, or the API's own host where the API is plain http
//	auto, no token: a live node
//	on:             a live node, and in allow where that is not empty
func (c *Client) authorizeAgent(ctx context.Context, ip netip.Addr) (trusted bool, err error) {
	if own := c.nodeAgents.Own; own != nil {
		if !own(ip) {
			return false, notAllowed(ray.ErrAgentNotAllowed, fmt.Sprintf("the node agent's address %s is not that of a running node of this cluster", ip))
		}
		return true, nil
	}
	allowed := c.allows(ip)
	if c.nodeAgents.Mode == NodeAgentsOn {
		if len(c.nodeAgents.Allow) > 0 && !allowed {
			return false, notAllowed(ray.ErrAgentNotAllowed, fmt.Sprintf("the node agent's address %s is not in node_agents.allow", ip))
		}
		return true, c.requireAlive(ctx, ip)
	}
	api := c.t.URL()
	if allowed {
		trusted = true
	} else if api.Scheme == "http" {
		trusted = c.agents.isHost(ctx, api.Hostname(), ip)
	}
	if c.t.HasToken() {
		if trusted {
			return true, nil
		}
		return false, notAllowed(ray.ErrTokenWithheld, fmt.Sprintf("the node agent at %s is not trusted with the token: add its network to node_agents.allow to read logs from it", ip))
	}
	return trusted, c.requireAlive(ctx, ip)
}

func (c *Client) allows(ip netip.Addr) bool {
	for _, network := range c.nodeAgents.Allow {
		if network.Contains(ip) {
			return true
		}
	}
	return false
}

// requireAlive returns an error for an address that no live node has.
func (c *Client) requireAlive(ctx context.Context, ip netip.Addr) error {
	live, err := c.agents.isLive(ctx, c.liveAddresses, ip)
	switch {
	case err != nil:
		return err
	case !live:
		return notAllowed(ray.ErrAgentNotAlive, fmt.Sprintf("the node agent's address %s does not belong to a live node", ip))
	}
	return nil
}

// liveAddresses queries the addresses of the live nodes.
func (c *Client) liveAddresses(ctx context.Context) (map[netip.Addr]bool, error) {
	live := map[netip.Addr]bool{}
	_, err := stateRows(ctx, c, "list nodes for their agents", "nodes", listQuery(maxRows), func(row struct {
		IP    string `json:"node_ip"`
		State string `json:"state"`
	}) bool {
		if ip, err := netip.ParseAddr(row.IP); err == nil && ray.NodeState(strings.ToUpper(row.State)) == ray.NodeAlive {
			live[ip.Unmap()] = true
		}
		return true
	})
	return live, err
}

// notAllowed returns the error for an agent that must not be used; reason is one of
// ray's ErrTransportNotAllowed.
func notAllowed(reason error, detail string) error {
	return &ray.Error{Op: opNodeAgentLog, Code: http.StatusForbidden, Detail: detail, Err: reason}
}

// agentAddress parses the base URL of a node agent. Anyone who can write to
// the cluster may have planted it: only http, an IP address and a port are accepted.
func agentAddress(raw string) (netip.AddrPort, error) {
	if raw == "" {
		return netip.AddrPort{}, fmt.Errorf("the address of the node agent is not known yet")
	}
	addr, err := netip.ParseAddrPort(strings.TrimSuffix(strings.TrimPrefix(raw, "http://"), "/"))
	if err != nil || !strings.HasPrefix(raw, "http://") || addr.Port() == 0 || addr.Addr().Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("the address that Ray reports for the node agent is not http://IP:PORT")
	}
	ip := addr.Addr().Unmap()
	if ip.IsUnspecified() || ip.IsMulticast() {
		return netip.AddrPort{}, fmt.Errorf("the address that Ray reports for the node agent (%s) is not the address of a host", ip)
	}
	return netip.AddrPortFrom(ip, addr.Port()), nil
}
