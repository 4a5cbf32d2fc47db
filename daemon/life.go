package daemon

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"raytap/connect"
	"raytap/discovery"
)

// The life of a cluster: it waits until no other of its name runs, it is watched, and then it
// is either stopped, so that a later raytap continues its logs, or drained, because it is
// being deleted. All of that is in goroutines of its own: no cluster delays Run.

// live returns what a client takes from facts at each request.
func live(facts *discovery.Facts) connect.Live {
	if facts == nil {
		return connect.Live{}
	}
	l := connect.Live{
		Address: func() (string, error) {
			s := facts.State()
			switch {
			case s.Address != "":
				return s.Address, nil
			case s.Why != "":
				return "", errors.New(s.Why)
			}
			return "", errNoHead
		},
		Agents: func(a netip.Addr) bool { return facts.State().Agents[a] },
	}
	if facts.Token != nil {
		l.Token = facts.Token
	}
	return l
}

// deleted returns a function that says when the node with an address was deleted; zero: it
// was not.
func deleted(facts *discovery.Facts) func(ip string) time.Time {
	return func(ip string) time.Time {
		a, err := netip.ParseAddr(ip)
		if err != nil {
			return time.Time{}
		}
		return facts.State().Deleted[a.Unmap()]
	}
}

var errNoHead = errors.New("its head does not run")

// phase returns the phase of a cluster; one without facts is running.
func phase(facts *discovery.Facts) discovery.Phase {
	if facts == nil {
		return discovery.Running
	}
	return facts.State().Phase
}

// expected reports whether the cluster should answer.
func (c *clusterRuntime) expected() bool {
	return c.started.Load() && !c.stopping.Load() && !c.draining.Load() && phase(c.facts) == discovery.Running
}

// start runs the cluster until stop, until its drain is over, or until ctx ends; first it
// waits until the clusters in after have ended.
func (c *clusterRuntime) start(ctx context.Context, after []*clusterRuntime) {
	ctx, c.cancel = context.WithCancel(ctx)
	c.done = make(chan struct{})
	c.started.Store(len(after) == 0)
	go func() {
		defer close(c.done)
		defer c.close()
		for _, other := range after {
			select {
			case <-other.done:
			case <-ctx.Done():
				return
			}
		}
		c.started.Store(true)
		c.run(ctx)
		if c.collector != nil {
			c.gone(c.collector, time.Now())
		}
	}()
}

// stop stops the cluster, and returns when it has stopped.
func (c *clusterRuntime) stop() {
	c.stopping.Store(true)
	c.cancel()
	<-c.done
}

// ended reports whether the cluster has run and has stopped.
func (c *clusterRuntime) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *clusterRuntime) run(ctx context.Context) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	var wg sync.WaitGroup
	wg.Go(func() { c.checkHealth(ctx) })
	wg.Go(func() { c.follow(ctx, end) })
	if c.shipper != nil {
		wg.Go(func() {
			err := c.shipper.Run(ctx)
			switch {
			case c.draining.Load():
				end() // the drain is over
			case err != nil && ctx.Err() == nil:
				c.log.WithError(err).Error("Shipper of the cluster ended, its metrics continue")
			}
		})
	}
	wg.Wait()
}

// follow applies what changes of the cluster while it runs. end ends run.
func (c *clusterRuntime) follow(ctx context.Context, end context.CancelFunc) {
	if c.facts == nil {
		return
	}
	head := ""
	for {
		changed := c.facts.Changed()
		s := c.facts.State()
		c.labels.Set(s.Labels)
		if s.Head != "" && s.Head != head {
			if head != "" {
				c.log.WithField("address", s.Address).Info("The cluster has another head")
				c.client.Close() // its idle connections
			}
			head = s.Head
		}
		if s.Phase == discovery.Draining || s.Phase == discovery.Gone {
			c.drain(s.Phase == discovery.Gone, end)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// resumed reports whether the cluster runs again after its logs were read to their ends, as
// one does that was suspended.
func (c *clusterRuntime) resumed() bool {
	return c.draining.Load() && phase(c.facts) == discovery.Running
}

// drain reads the rest of the cluster's logs. gone: it does not exist any more.
func (c *clusterRuntime) drain(gone bool, end context.CancelFunc) {
	if c.draining.CompareAndSwap(false, true) {
		c.log.Info("The cluster is being deleted, the rest of its logs is read")
	}
	switch {
	case c.shipper == nil:
		end()
	case gone:
		c.shipper.Gone()
	default:
		c.shipper.Drain(c.drainTimeout)
	}
}

// close releases what build created.
func (c *clusterRuntime) close() {
	c.stopping.Store(true)
	c.source.Close()
	c.client.Close()
	c.requests.forget()
}
