// Package dashboard is a client of the HTTP API of Ray's dashboard, from Ray 2.9
// to 2.60: one file per resource; methods return domain types.
package dashboard

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"raytap/ray"
	"raytap/ray/internal/partial"
	"raytap/ray/transport"
)

// Client is a client of one dashboard. It is safe for concurrent use.
//
// Requests to the State API (/api/v0/*, except logs) run one at a time: Ray
// has a single worker thread for them, and a second request would only wait
// there ahead of other clients' requests (2.60.0).
type Client struct {
	t            *transport.Client
	nodeAgents   NodeAgents
	partial      partial.Reporter    // skipped rows and fields
	state        chan struct{}       // holds one element while a State API request runs
	agents       agentRegistry       // which node agents may be used
	statsTracker statsTracker        // which nodes still report stats
	refusals     ray.UpgradeRefusals // whether the server refuses WebSockets
	headFiles    *rate.Limiter       // requests for files by way of the head

	mu       sync.Mutex
	version  ray.Version     // of the last response; zero before
	names    map[string]bool // real resource names of the last node list
	namesAt  time.Time
	totals   map[string]float64 // resources of that list's live nodes
	groups   []ray.Demand       // of the bundles of pending placement groups, as last listed
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
	return &Client{t: t, nodeAgents: o.NodeAgents, partial: partial.Reporter{Logger: o.Log}, state: make(chan struct{}, 1),
		headFiles: rate.NewLimiter(headFileRate, headFileRate)}, nil
}

// ClockAhead returns how far the cluster's clock is ahead of this machine's, from the
// Date of its responses; 0 if unknown.
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

// SkippedRows returns the number of list rows skipped since the client was created,
// because they could not be decoded.
func (c *Client) SkippedRows() uint64 { return c.partial.TotalRows() }

// SkippedFields returns the number of fields since the client was created that were
// omitted because of an unexpected type, or truncated because of their length.
func (c *Client) SkippedFields() uint64 { return c.partial.TotalFields() }

func notFound(op, detail string) error {
	return &ray.Error{Op: op, Code: http.StatusNotFound, Detail: detail}
}
