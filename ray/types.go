// Package ray describes a Ray cluster, independent of the API: jobs, nodes, tasks,
// actors, Serve applications, log streams and errors.
//
// The clients (ray/dashboard for the API of Ray's dashboard, ray/synapse for that of
// Synapse agents) return these types; collector and shipper consume them. Times are
// UTC; a zero time.Time is unknown. Facts about Ray in the comments were measured on
// Ray 2.60.0 unless another version is named.
package ray

import "time"

// TPU are the stats of one TPU chip. Ratios are from 0 to 1, nil if unknown; memory is
// in bytes, MemTotal 0 if unknown.
type TPU struct {
	Index      int
	Name       string // the id of the accelerator in its slice
	Type       string // "tpu-v6e-slice"
	Topology   string // "2x4"
	TensorCore *float64
	Bandwidth  *float64 // of the memory
	DutyCycle  *float64
	MemUsed    float64
	MemTotal   float64
}

// Version is the version of a cluster, and its session.
type Version struct {
	Ray    string // "2.60.0"
	Commit string
	// Session identifies one run of the head ("session_2026-11-24_15-02-08_458718_7011").
	// It changes on each start of the head, except with GCS fault tolerance. Ray before
	// 2.40 does not report it with its version; the client then takes it from the
	// head's raylet socket path. "" means not known yet, as for about 2 s after such a
	// head started; UnknownSession, that the API reports none.
	Session string
}

// JobType is whether a job was submitted through the Jobs API, or a driver connected.
type JobType string

// The types that Ray lists.
const (
	JobSubmission JobType = "SUBMISSION"
	JobDriver     JobType = "DRIVER"
)

// JobStatus is a job's status, trimmed and upper-cased. Unknown values are kept.
type JobStatus string

// The statuses of submissions. A DRIVER job is only ever RUNNING or SUCCEEDED,
// where SUCCEEDED means no more than that the driver has exited (a script that exits
// with code 5 is SUCCEEDED).
const (
	JobPending   JobStatus = "PENDING"
	JobRunning   JobStatus = "RUNNING"
	JobSucceeded JobStatus = "SUCCEEDED"
	JobFailed    JobStatus = "FAILED"
	JobStopped   JobStatus = "STOPPED"
)

// JobStatuses lists the known statuses of a submission in order of the job's life.
var JobStatuses = []JobStatus{JobPending, JobRunning, JobSucceeded, JobFailed, JobStopped}

// Terminal reports whether a job of this status will not run (again). Ray has no
// CANCELLED, but a Synapse agent may.
func (s JobStatus) Terminal() bool {
	return s == JobSucceeded || s == JobFailed || s == JobStopped || s == "CANCELLED"
}

// Job is one row of the job list. Its runtime_env is never decoded: Ray sends the
// secrets in it in plain text.
type Job struct {
	Type         JobType
	SubmissionID string // "" for a DRIVER job
	// JobID is the 8-hex id of the job's last driver; "" until it called ray.init.
	JobID      string
	Status     JobStatus
	Entrypoint string // a command line; may hold secrets
	Message    string // text for people; on failure with the last log lines
	ErrorType  string // "" or e.g. JOB_ENTRYPOINT_COMMAND_ERROR; always "" before Ray 2.60
	// Start is when the job was submitted (Ray's start_time, which is set while the
	// job is PENDING), not when the driver started.
	Start time.Time
	End   time.Time // zero until terminal
	// Metadata is the user's map; nil if there is none.
	Metadata map[string]string
	// DriverNodeID and DriverAgentURL are "" until the job's supervisor runs.
	DriverNodeID   string
	DriverAgentURL string // "http://10.0.0.10:52365"
	// DriverExitCode is nil until the command ended, and for a job that was
	// stopped or never started.
	DriverExitCode *int
}

// Key returns the id that the API uses: the submission id, else the job id.
func (j Job) Key() string {
	if j.SubmissionID != "" {
		return j.SubmissionID
	}
	return j.JobID
}

// Name returns the metadata value "job_name", or "".
func (j Job) Name() string { return j.Metadata["job_name"] }

// NodeState is ALIVE or DEAD; unknown values are kept.
type NodeState string

// The states of a node. A killed raylet turns DEAD after about 14 s.
const (
	NodeAlive NodeState = "ALIVE"
	NodeDead  NodeState = "DEAD"
)

// Node is one node, with its stats if the cluster has current ones.
type Node struct {
	ID     string
	IP     string
	Name   string // Ray's node_name, by default the IP
	Host   string // host name, "" if unknown
	Head   bool
	State  NodeState
	Labels map[string]string
	Start  time.Time
	End    time.Time // zero while alive
	// DeathReason is an enum such as UNEXPECTED_TERMINATION; "" while alive or if
	// unknown.
	DeathReason string
	// Resources maps real resource names (object_store_memory, not
	// objectStoreMemory) to totals. Empty for a dead node.
	Resources map[string]float64
	// Usage is what is used of Resources, if the cluster's list of nodes reports it (as
	// text, memory rounded to a hundredth of its unit). ClusterStatus.ByNode is exact,
	// if it has the node.
	Usage map[string]Usage
	// Stats are the node's last stats; nil for a node that is not ALIVE, or if they are
	// outdated or missing.
	Stats *NodeStats
	// StatsUnavailable is true if the nodes could be listed but the request for their
	// stats failed: Stats and DeathReason are then unknown, not absent.
	StatsUnavailable bool
}

// NodeStats are the stats of a node that is alive, in bytes and ratios (0 to 1).
type NodeStats struct {
	At             time.Time // when the node agent measured them
	CPURatio       float64   // 0 to 1 over all logical CPUs
	CPUUnknown     bool      // CPURatio is unknown, and 0
	CPUs           int       // logical CPUs; 0 if unknown
	MemTotal       float64   // 0 if the node's memory is unknown
	MemUsed        float64
	MemAvailable   float64
	Disks          []Disk // by mount, sorted
	ObjectStore    *ObjectStore
	Workers        int
	WorkersUnknown bool       // Workers is unknown, and 0
	LoadAvg        [3]float64 // 1, 5, 15 minutes
	HasLoad        bool
	GPUs           []GPU
	TPUs           []TPU
	NetworkSent    float64 // bytes since boot
	NetworkRecv    float64
	HasNetwork     bool
	DashboardAgent int // the node agent's HTTP port, 0 if unknown
}

// Disk is one mount of a node, in bytes.
type Disk struct {
	Mount             string
	Total, Used, Free float64
}

// ObjectStore is a node's part of the object store, in bytes.
type ObjectStore struct{ Used, Available float64 }

// GPU are the stats of one accelerator. Utilization is a ratio, nil if the driver does
// not report it; memory is in bytes (Ray sends MB), MemTotal 0 if unknown.
type GPU struct {
	Index       int
	Name        string
	UUID        string
	Utilization *float64
	MemUsed     float64
	MemTotal    float64
}

// Usage is a resource's used and total amount.
type Usage struct{ Used, Total float64 }

// Demand is a set of resources that Count pending tasks, actors or bundles each
// request.
type Demand struct {
	Resources map[string]float64
	Count     int
}

// The versions of Ray's autoscaler.
const (
	AutoscalerV1 = "v1"
	AutoscalerV2 = "v2" // KubeRay's newer default
)

// ClusterStatus is the autoscaler's view. Ray updates it every 5 s.
//
// Ray camel-cases resource names here. The client maps them back by
// camel-casing the real names of the node list; a name that no real name, or
// more than one, maps to is dropped and counted in Unmapped.
//
// A nil Usage means that there is no status (yet).
type ClusterStatus struct {
	// Autoscaler is the version that the status comes from, "" if there is no status.
	// Version 2 reports neither ByNode nor At: its status is always current.
	Autoscaler string
	At         time.Time // when Ray wrote it
	Usage      map[string]Usage
	ByNode     map[string]map[string]Usage // node id -> resource
	Pending    []Demand                    // tasks and actors
	PGs        []Demand                    // bundles of pending placement groups, one Demand for each shape
	// PGsUnknown: the demand of placement groups is unknown.
	PGsUnknown bool
	Unmapped   int
}

// Truncation describes what is missing from a list. Ray truncates lists to 10,000 rows,
// silently and in no defined order.
type Truncation struct {
	Total int // rows that matched at the source (known even if the list is truncated)
	// Truncated reports whether rows are missing from the response.
	Truncated bool
}

// Task is one attempt of one task.
type Task struct {
	ID      string
	Attempt int
	Name    string
	Func    string
	State   string // e.g. RUNNING, PENDING_NODE_ASSIGNMENT, FAILED
	Type    string // e.g. NORMAL_TASK
	JobID   string
	NodeID  string
	ActorID string
	Error   string // error_type
}

// TaskStates lists the states that Ray knows.
var TaskStates = []string{
	"NIL", "PENDING_ARGS_AVAIL", "PENDING_NODE_ASSIGNMENT", "PENDING_OBJ_STORE_MEM_AVAIL",
	"PENDING_ARGS_FETCH", "SUBMITTED_TO_WORKER", "PENDING_ACTOR_TASK_ARGS_FETCH",
	"PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY", "RUNNING", "RUNNING_IN_RAY_GET",
	"RUNNING_IN_RAY_WAIT", "GETTING_AND_PINNING_ARGS", "FINISHED", "FAILED",
}

// TaskList lists the unfinished and the failed tasks that the GCS still keeps.
type TaskList struct {
	Tasks []Task
	Truncation
	// Dropped is how many attempts, of any state, the GCS no longer keeps (it keeps
	// 100,000 by default): they are in no count here. It is set only if it makes a
	// difference to the counts, else 0.
	Dropped int
	// ByState holds exact totals by state. It is set only if the list is truncated:
	// it costs Ray one request for each state.
	ByState map[string]int
	// Session is the head's last known session when the list was requested, "" if
	// unknown. Package cache sets it, and RequestedAt.
	Session     string
	RequestedAt time.Time
}

// ActorStates and PlacementGroupStates list the states that Ray knows.
var (
	ActorStates          = []string{"DEPENDENCIES_UNREADY", "PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD"}
	PlacementGroupStates = []string{"PENDING", "PREPARED", "CREATED", "REMOVED", "RESCHEDULING"}
)

// StateCounts counts rows by state. A state without rows is absent.
type StateCounts struct {
	ByState map[string]int
	Truncation
}

// ServeStatus is the status of Ray Serve. The zero value means that Serve is not running.
type ServeStatus struct {
	Running      bool // there is a Serve controller
	Applications []ServeApplication
	Proxies      []ServeProxy
}

// ServeApplicationStatuses, ServeDeploymentStatuses, ServeReplicaStates and
// ServeProxyStatuses list the values that Ray knows.
var (
	ServeApplicationStatuses = []string{"NOT_STARTED", "DEPLOYING", "DEPLOY_FAILED", "RUNNING", "UNHEALTHY", "DELETING"}
	ServeDeploymentStatuses  = []string{"UPDATING", "HEALTHY", "UNHEALTHY", "DEPLOY_FAILED", "UPSCALING", "DOWNSCALING"}
	ServeReplicaStates       = []string{"STARTING", "UPDATING", "RECOVERING", "RUNNING", "STOPPING", "STOPPED", "PENDING_MIGRATION"}
	ServeProxyStatuses       = []string{"STARTING", "HEALTHY", "UNHEALTHY", "DRAINING", "DRAINED"}
)

// ServeApplication is one application, its deployments sorted by name.
type ServeApplication struct {
	Name         string
	RoutePrefix  string // "" if it has none
	DocsPath     string
	Status       string
	Message      string // may be a traceback
	Source       string // imperative or declarative; "" while unknown
	LastDeployed time.Time
	Deployments  []ServeDeployment
}

// ServeDeployment is one deployment of an application.
type ServeDeployment struct {
	Name           string
	Status         string
	Message        string
	TargetReplicas *int           // nil if unknown
	Replicas       map[string]int // by state; empty if unknown
	ReplicaCount   *int           // in any state; nil if unknown
	DeadReplicas   *int           // recently died ones; nil if unknown (Ray before 2.60)
}

// ServeProxy is one HTTP or gRPC proxy of Serve.
type ServeProxy struct {
	NodeID string
	NodeIP string
	Status string
}
