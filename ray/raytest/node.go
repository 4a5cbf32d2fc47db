package raytest

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"raytap/ray"
	"raytap/ray/internal/fake"
)

// Node is a node of the cluster with its node agent, which serves the log directory on
// its own port.
type Node struct {
	ID string
	IP string

	head     *Head
	isHead   bool
	agentURL string

	// guarded by head.mu
	agent *fake.Server // nil while it is down
	dead  time.Time
	start time.Time
	files map[string]*file // by name; two nodes can have the same directory

	workers        []ray.Worker
	workersUnknown bool
	counts         fake.Counts // of requests to the agent
}

// Nodes lists the nodes, the head's first.
func (h *Head) Nodes() []*Node {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*Node(nil), h.nodes...)
}

// AddNode adds a worker node on an address of loopback, such as "127.0.0.2".
func (h *Head) AddNode(ip string) (*Node, error) { return h.addNode(ip, false) }

func (h *Head) addNode(ip string, head bool) (*Node, error) {
	h.mu.Lock()
	n := &Node{ID: fmt.Sprintf("%056x", len(h.nodes)+1), IP: ip, head: h, isHead: head,
		start: time.Now(), files: map[string]*file{}, counts: fake.Counts{}}
	h.mu.Unlock()
	s, err := fake.Listen(ip+":0", http.HandlerFunc(n.serveAgent))
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	n.agent, n.agentURL = s, "http://"+s.Addr()
	h.nodes = append(h.nodes, n)
	return n, nil
}

// AgentURL returns the base URL of the node agent.
func (n *Node) AgentURL() string { return n.agentURL }

// Requests returns the number of requests to this node's agent, by endpoint like
// Head.Requests.
func (n *Node) Requests(endpoint string) int {
	n.head.mu.Lock()
	defer n.head.mu.Unlock()
	return n.counts.Of(endpoint)
}

// AgentDown kills the node agent. Its tails get Close 1000 at their next read of the
// file, and reads of log files from this node fail.
func (n *Node) AgentDown() {
	n.head.mu.Lock()
	s := n.agent
	n.agent = nil
	n.head.mu.Unlock()
	if s != nil {
		s.Close()
	}
}

// AgentUp starts the node agent at its previous address.
func (n *Node) AgentUp() error {
	n.head.mu.Lock()
	defer n.head.mu.Unlock()
	if n.agent != nil {
		return nil
	}
	s, err := fake.Listen(strings.TrimPrefix(n.agentURL, "http://"), http.HandlerFunc(n.serveAgent))
	if err != nil {
		return err
	}
	n.agent = s
	return nil
}

// Kill kills the node: it is DEAD in the lists, and its agent is down. Its jobs do not
// change until the test ends them; Ray takes about 20 s to fail them.
func (n *Node) Kill() {
	n.AgentDown()
	n.head.mu.Lock()
	defer n.head.mu.Unlock()
	n.dead = time.Now()
}
