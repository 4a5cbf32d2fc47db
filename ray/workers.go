package ray

// Worker is a worker process of a node, or a driver that runs on it.
type Worker struct {
	ID      string // 56 hex digits, as in the names of its log files
	PID     int
	JobID   string // "" while no job uses it
	ActorID string // "" if it has no actor
	Type    string // e.g. WORKER or DRIVER
	// Running is how many tasks it runs now: for an actor its methods in progress.
	Running int
}

// NodeWorkers are the workers that are alive on one node, as its raylet last reported
// them: at most 15 s ago while raylet and dashboard run (2.60.0).
type NodeWorkers struct {
	NodeID string
	IP     string
	Host   string // host name, "" if unknown
	Head   bool
	State  NodeState
	// AgentURL is the base URL of the node's agent, "http://10.0.0.10:52365". Ray before
	// 2.60 may not report its port; then it is Ray's default one. "" if unknown.
	AgentURL string
	Workers  []Worker
	// Known is false if the node is not ALIVE or its workers are not known, as for about
	// 15 s after its node or the dashboard started. Workers is empty then, which does
	// not mean that it has none.
	Known bool
}
