package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"time"

	"raytap/ray/raytest"
)

// network injects faults between raytap and a head.
type network struct {
	head   *raytest.Head
	rng    *rand.Rand // for disturb
	faults []*raytest.Injected
	cuts   []*raytest.Injected // the faults that cut a response
	agents bool                // raytap reads from node agents

	mu    sync.Mutex
	ended int // tails ended by CutTails
}

// newNetwork injects faults into the responses of a head. crlfs are the jobs whose
// lines end with \r\n: raw responses with their logs are cut more often, so that some
// cuts fall between \r and \n.
func newNetwork(head *raytest.Head, seed uint64, agents bool, crlfs []string) *network {
	n := &network{head: head, rng: rand.New(rand.NewPCG(seed, 2)), agents: agents}
	faults := rand.New(rand.NewPCG(seed, 3)) // used under the head's lock only
	job := ""
	add := func(endpoint string, do raytest.Action, chance float64, spread int64) {
		in := head.Inject(raytest.Fault{Endpoint: endpoint, Job: job, Action: do, Chance: chance, Spread: spread, Rand: faults})
		n.faults = append(n.faults, in)
		if do != raytest.Respond && do != raytest.Hang {
			n.cuts = append(n.cuts, in)
		}
	}
	for _, job = range crlfs {
		add(raytest.EndpointNodeAgent, raytest.CutReset, 0.3, 600)
		add(raytest.EndpointLogFile, raytest.CutReset, 0.3, 600)
	}
	job = ""
	for _, do := range []raytest.Action{raytest.CutClose, raytest.CutReset, raytest.CloseFrame} {
		add(raytest.EndpointTail, do, 0.2, 9000)
	}
	add(raytest.EndpointTail, raytest.HalfOpen, 0.05, 9000)
	for _, endpoint := range []string{raytest.EndpointNodeAgent, raytest.EndpointLogFile} {
		add(endpoint, raytest.CutClose, 0.08, 1500)
		add(endpoint, raytest.CutReset, 0.08, 1500)
		add(endpoint, raytest.HalfOpen, 0.01, 1500)
		add(endpoint, raytest.Hang, 0.005, 0)
		n.refuse(endpoint, 500, 0.02, faults)
		n.refuse(endpoint, 429, 0.02, faults)
	}
	for _, endpoint := range []string{raytest.EndpointJobs, raytest.EndpointJob, raytest.EndpointVersion} {
		add(endpoint, raytest.CutReset, 0.03, 100)
		n.refuse(endpoint, 500, 0.03, faults)
		n.refuse(endpoint, 429, 0.03, faults)
	}
	return n
}

func (n *network) refuse(endpoint string, status int, chance float64, rng *rand.Rand) {
	n.faults = append(n.faults, n.head.Inject(raytest.Fault{Endpoint: endpoint, Status: status, Chance: chance, Rand: rng}))
}

// heal removes all faults.
func (n *network) heal() {
	for _, f := range n.faults {
		f.Remove()
	}
}

// disturb breaks open connections, the head and node agents at random times, until
// ctx ends. Then everything is up again.
func (n *network) disturb(ctx context.Context) error {
	actions := []raytest.Action{raytest.CutClose, raytest.CutReset, raytest.CloseFrame, raytest.CloseFrame, raytest.HalfOpen}
	for {
		wait(ctx, time.Duration(100+n.rng.IntN(400))*time.Millisecond)
		if ctx.Err() != nil {
			return nil
		}
		switch n.rng.IntN(8) {
		case 0:
			n.head.Down()
			wait(ctx, time.Duration(n.rng.IntN(300))*time.Millisecond)
			if err := n.head.Up(); err != nil {
				return err
			}
		case 1:
			if !n.agents {
				continue
			}
			node := n.head.Nodes()[n.rng.IntN(2)]
			node.AgentDown()
			wait(ctx, time.Duration(n.rng.IntN(200))*time.Millisecond)
			if err := node.AgentUp(); err != nil {
				return err
			}
		default:
			cut := n.head.CutTails(actions[n.rng.IntN(len(actions))], "")
			n.mu.Lock()
			n.ended += cut
			n.mu.Unlock()
		}
	}
}

// addTo adds the faults that happened to the totals.
func (n *network) addTo(into *totals) {
	n.mu.Lock()
	into.cuts += n.ended
	n.mu.Unlock()
	for _, in := range n.faults {
		into.faults += in.Hits()
	}
	for _, in := range n.cuts {
		into.cuts += in.Hits()
		into.faults -= in.Hits()
		runes, crlfs := in.Splits()
		into.runes += runes
		into.crlfs += crlfs
	}
}

// consume opens a tail as another client of the head that is stuck (it never reads)
// or slow, until ctx ends.
func consume(ctx context.Context, head *raytest.Head, id string, slow bool) {
	u, err := url.Parse(head.URL())
	if err != nil {
		return
	}
	c, err := net.Dial("tcp", u.Host)
	if err != nil {
		return // the head is down
	}
	defer c.Close()
	_, _ = fmt.Fprintf(c, "GET /api/jobs/%s/logs/tail HTTP/1.1\r\nHost: %s\r\nUser-Agent: other\r\nConnection: Upgrade\r\n"+
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", id, u.Host)
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4096)
	}
	for buf := make([]byte, 64); ctx.Err() == nil; wait(ctx, 50*time.Millisecond) {
		if slow {
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, _ = c.Read(buf)
		}
	}
}
