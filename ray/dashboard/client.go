// Package dashboard is a Ray cluster as the HTTP API of its dashboard tells it,
// from Ray 2.9 to 2.60: one file per resource, domain types out.
package dashboard

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/ray"
	"raytap/ray/transport"
)

// Client asks one dashboard. It is safe for concurrent use.
//
// Requests to the State API (/api/v0/*, logs excepted) run one at a time: Ray
// has a single worker thread for them, and a second one would only wait there
// in front of everybody else's (2.60.0).
type Client struct {
	t          *transport.Client
	nodeAgents NodeAgents
	log        logrus.FieldLogger // nil for nobody
	state      chan struct{}      // holds one element while a State API request runs

	mu      sync.Mutex
	version ray.Version          // the last one told; zero before
	warned  map[string]time.Time // kind of warning -> when it was last given
}

// New builds a client on a transport; it does not connect.
func New(t *transport.Client, o Options) (*Client, error) {
	if t == nil {
		return nil, errors.New("a dashboard client needs a transport")
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	return &Client{t: t, nodeAgents: o.NodeAgents, log: o.Log, state: make(chan struct{}, 1), warned: map[string]time.Time{}}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.t.Close() }

// lockState waits until no other State API request runs.
func (c *Client) lockState(ctx context.Context, op string) error {
	select {
	case c.state <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &ray.Error{Op: op, Code: ray.Code(ctx.Err()), Detail: "another State API request is still running", Err: ctx.Err()}
	}
}

func (c *Client) unlockState() { <-c.state }

// warn logs one kind of warning at most once a minute. The kinds are constants.
func (c *Client) warn(kind string, fields logrus.Fields) {
	if c.log == nil {
		return
	}
	c.mu.Lock()
	last, seen := c.warned[kind]
	quiet := seen && time.Since(last) < time.Minute
	if !quiet {
		c.warned[kind] = time.Now()
	}
	c.mu.Unlock()
	if !quiet {
		c.log.WithFields(fields).Warn(kind)
	}
}
