package dashboard

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"raytap/ray"
	"raytap/ray/internal/pyjson"
	"raytap/ray/transport"
)

const (
	// defaultAgentPort is where a node agent listens unless Ray was started with
	// another --dashboard-agent-listen-port.
	defaultAgentPort = 52365
	// maxSummary bounds the node summary, in bytes: 693 for each worker (2.60.0). It is
	// decoded as it arrives.
	maxSummary = 512 << 20
)

// workerRow is a worker of the node summary.
type workerRow struct {
	ID      string `json:"workerId"`
	PID     number `json:"pid"`
	JobID   string `json:"jobId"`
	ActorID string `json:"actorId"`
	Type    string `json:"workerType"`
	Running number `json:"numRunningTasks"`
}

func (r workerRow) worker() ray.Worker {
	pid, _ := r.PID.count()
	running, _ := r.Running.count()
	return ray.Worker{ID: r.ID, PID: pid, JobID: realID(r.JobID), ActorID: realID(r.ActorID), Type: upper(r.Type), Running: running}
}

// realID returns an id, or "" for Ray's id of nothing, which has every bit set.
func realID(id string) string {
	if strings.Trim(id, "f") == "" {
		return ""
	}
	return id
}

// workerRows are the workers of a node. They have no bound of their own: each is one
// row.
type workerRows struct {
	list  []ray.Worker
	known bool
}

// ReadJSON reads the list, one worker at a time.
func (w *workerRows) ReadJSON(d *pyjson.Decoder) error {
	w.known = true
	_, err := eachRow(d, func(row workerRow) bool {
		if row.ID != "" {
			w.list = append(w.list, row.worker())
		}
		return row.ID != ""
	})
	return err
}

// workersRow is a node of the node summary, with its workers and without its stats.
type workersRow struct {
	Host   *string `json:"hostname"`
	Raylet struct {
		ID        string     `json:"nodeId"`
		IP        string     `json:"nodeManagerAddress"`
		State     string     `json:"state"`
		Head      bool       `json:"isHeadNode"`
		Host      *string    `json:"nodeManagerHostname"`
		AgentPort *number    `json:"dashboardAgentListenPort"`
		Workers   workerRows `json:"coreWorkersStats"`
	} `json:"raylet"`
}

// NodeWorkers lists the nodes, dead ones included, with the workers that are alive on
// them and the addresses of their agents. It costs one request to the dashboard that
// does not reach the GCS or the nodes: Ray collects the workers every 15 s (2.60.0).
// A worker that lived for less may never be in it. Safe for concurrent use.
func (c *Client) NodeWorkers(ctx context.Context) ([]ray.NodeWorkers, error) {
	const op = "list workers"
	out, seen, found := []ray.NodeWorkers{}, distinct{}, false
	request := transport.Request{Op: op, Endpoint: "/nodes", Path: "/nodes", Query: url.Values{"view": {"summary"}}, MaxBody: maxSummary}
	err := c.call(ctx, "workers of nodes", request, func(d *pyjson.Decoder) error {
		err := c.envelope(op, d, func(d *pyjson.Decoder) error {
			return eachKey(d, map[string]func(*pyjson.Decoder) error{"summary": func(d *pyjson.Decoder) error {
				found = true
				return d.Array(func() error {
					var row workersRow
					err := d.Decode(&row) // no Row: the workers of a node have no bound
					if pyjson.IsShape(err) || err == nil && (row.Raylet.ID == "" || !seen.first(row.Raylet.ID)) {
						d.Skipped.Rows++
						return nil
					}
					out = append(out, row.node())
					return err
				})
			}})
		})
		if err == nil && !found {
			return &pyjson.ShapeError{Want: "summary"}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (r *workersRow) node() ray.NodeWorkers {
	n := ray.NodeWorkers{NodeID: r.Raylet.ID, IP: r.Raylet.IP, Host: deref(r.Host), Head: r.Raylet.Head, State: ray.NodeState(upper(r.Raylet.State))}
	if n.Host == "" {
		n.Host = deref(r.Raylet.Host)
	}
	if n.State != ray.NodeAlive { // its last workers stay in the response
		return n
	}
	n.AgentURL = agentURL(n.IP, r.Raylet.AgentPort)
	n.Workers, n.Known = r.Raylet.Workers.list, r.Raylet.Workers.known
	return n
}

// agentURL returns the base URL of a node's agent, "" if it is unknown. A cluster
// that reports no port at all, such as Ray 2.40.0, has the default one.
func agentURL(ip string, port *number) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	at := defaultAgentPort
	if port != nil {
		if at, _ = port.count(); at < 1 || at > 1<<16-1 {
			return ""
		}
	}
	return "http://" + net.JoinHostPort(addr.String(), strconv.Itoa(at))
}
