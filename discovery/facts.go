package discovery

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// Phase is where a cluster is in its life.
type Phase int

const (
	// Waiting: nothing of it can answer yet, or for now, and is not expected to: it is
	// suspended, or its head pod does not exist or is not ready.
	Waiting Phase = iota
	// Running: its head is up, as far as discovery knows.
	Running
	// Draining: it is being deleted. What its head still answers is read.
	Draining
	// Gone: its head does not exist any more.
	Gone
)

// State is what is known of a cluster and may change while it is watched.
type State struct {
	Address string              // "ip:port" of the dashboard; "": no head runs
	Head    string              // identifies the head's container: another one is another Ray
	Agents  map[netip.Addr]bool // the addresses of its own nodes; never changed
	// Deleted is when nodes with these addresses were deleted, within the last hour:
	// for Ray they are lost. Never changed.
	Deleted map[netip.Addr]time.Time
	Labels  map[string]string // keys of its records and labels of raytap_cluster_info; never changed
	Phase   Phase
	Why     string // of Waiting
}

// TokenSource returns the token of the next request, "" for none; see
// transport.TokenSource. It is told which tokens the head accepts. Safe for concurrent use.
type TokenSource interface {
	Token() (string, error)
	Accepted(token string) // the head has answered a request with this token
	Rejected(token string) // the head has answered that this token is not valid
}

// Facts hold the State of a cluster, which one goroutine sets and others read. Safe for
// concurrent use; the zero value is that of a cluster of which nothing is known.
type Facts struct {
	// Token is the token of the cluster, nil for that of its configuration. It must not be
	// changed once the cluster is published.
	Token TokenSource

	mu      sync.Mutex
	state   State
	changed chan struct{} // closed by the next Set; nil: none waits
}

// State returns the current state.
func (f *Facts) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

// Set replaces the state. Its maps must not be changed afterwards.
func (f *Facts) Set(s State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = s
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// Changed returns a channel that is closed at the next Set. State must be called after it.
func (f *Facts) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed
}

// Source finds clusters. Clusters is safe for concurrent use; Run is called once.
type Source interface {
	// Clusters returns the clusters that were found, those that drain included.
	Clusters() []Cluster
	// Run looks for clusters until ctx ends, and sends to changed when Clusters returns
	// others, or one of them is in another Phase. Any other change of Facts is none.
	Run(ctx context.Context, changed chan<- struct{}) error
}
