// Package dashboard is a Ray cluster as the HTTP API of its dashboard tells it,
// from Ray 2.9 to 2.60: one file per resource, domain types out.
package dashboard

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"raytap/ray"
	"raytap/ray/internal/follow"
	"raytap/ray/internal/partial"
	"raytap/ray/transport"
)

// Client asks one dashboard. It is safe for concurrent use.
//
// Requests to the State API (/api/v0/*, logs excepted) run one at a time: Ray
// has a single worker thread for them, and a second one would only wait there
// in front of everybody else's (2.60.0).
type Client struct {
	t            *transport.Client
	nodeAgents   NodeAgents
	partial      partial.Reporter // what answers lacked
	state        chan struct{}    // holds one element while a State API request runs
	agents       agentRegistry    // which node agents may be asked
	statsTracker statsTracker     // which nodes still report
	host         follow.Host      // whether WebSockets are opened there

	mu       sync.Mutex
	version  ray.Version     // the last one told; zero before
	names    map[string]bool // real resource names of the last node list
	namesAt  time.Time
	totals   map[string]float64 // resources of that list's live nodes
	groups   []ray.Demand       // of bundles of pending placement groups, as last listed
	groupsAt time.Time
}

// New builds a client on a transport; it does not connect.
func New(t *transport.Client, o Options) (*Client, error) {
	if t == nil {
		return nil, errors.New("a dashboard client needs a transport")
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	return &Client{t: t, nodeAgents: o.NodeAgents, partial: partial.Reporter{Logger: o.Log}, state: make(chan struct{}, 1)}, nil
}

// ClockAhead returns how far the cluster's clock is ahead of this machine's, by the
// Date of its answers; 0 where it is not known.
func (c *Client) ClockAhead() time.Duration { return c.t.ClockAhead() }

// Close closes idle connections.
func (c *Client) Close() { c.t.Close() }

// lockState waits until no other State API request runs.
func (c *Client) lockState(ctx context.Context, op string) error {
	select {
	case c.state <- struct{}{}:
		return nil
	case <-ctx.Done():
		code := http.StatusRequestTimeout
		if errors.Is(ctx.Err(), context.Canceled) {
			code = http.StatusServiceUnavailable
		}
		return &ray.Error{Op: op, Code: code, Detail: "another State API request was still running", Err: ctx.Err()}
	}
}

func (c *Client) unlockState() { <-c.state }

// SkippedRows counts the rows of lists that were left out since the client was
// made, because they could not be decoded.
func (c *Client) SkippedRows() uint64 { return c.partial.TotalRows() }

// SkippedFields counts the fields of answers that were omitted since the client was
// made, because they were of another type than expected, or cut because they were
// too long for anything that is made of them.
func (c *Client) SkippedFields() uint64 { return c.partial.TotalFields() }

func notFound(op, detail string) error {
	return &ray.Error{Op: op, Code: http.StatusNotFound, Detail: detail}
}
