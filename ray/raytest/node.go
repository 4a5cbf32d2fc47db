package raytest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

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
	files map[string]*file
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
		start: time.Now(), files: map[string]*file{}}
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

// serveAgent implements the static file handler of Ray's node agent.
func (n *Node) serveAgent(w http.ResponseWriter, r *http.Request) {
	h := n.head
	name, isLog := strings.CutPrefix(r.URL.Path, "/logs/")
	jobID := strings.TrimSuffix(strings.TrimPrefix(name, "job-driver-"), ".log")
	w, ok := h.applyFault(w, r, EndpointNodeAgent, jobID)
	if !ok || !h.authorized(w, r) {
		return
	}
	h.mu.Lock()
	f := n.files[name]
	var data []byte
	if f != nil {
		data = f.data // append-only: these bytes do not change
	}
	h.mu.Unlock()
	if !isLog {
		text(w, http.StatusNotFound, "404: Not Found")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if f == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	from, hasRange := rangeStart(r.Header.Get("Range"))
	switch {
	case !hasRange:
		from = 0
		w.Header().Set("Accept-Ranges", "bytes")
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	case from >= len(data):
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", len(data)))
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	default:
		w.Header().Set("Accept-Ranges", "bytes")
		w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
		w.WriteHeader(http.StatusPartialContent)
	}
	_, _ = w.Write(data[from:])
}

// rangeStart parses "bytes=N-", the only form that raytap sends.
func rangeStart(header string) (int, bool) {
	s, ok := strings.CutPrefix(header, "bytes=")
	if !ok {
		return 0, false
	}
	s, ok = strings.CutSuffix(s, "-")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0
}
