// Package ray says what a Ray cluster is, apart from how it is asked: jobs,
// nodes, tasks, actors, Serve applications, log streams and errors.
//
// The dialects (ray/dashboard for Ray's own dashboard API) return these types;
// collector and shipper consume them. Times are UTC; a zero time.Time means
// that the cluster did not tell. Facts about Ray in the comments were measured
// on Ray 2.60.0 unless another version is named.
package ray

import "time"

// TPU is one TPU chip's readings. Shares are ratios, nil where they are not told;
// memory is in bytes, MemTotal 0 where it is not told.
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

// Version is what a cluster says of itself.
type Version struct {
	Ray    string // "2.60.0"
	Commit string
	// Session names one life of the head ("session_2026-11-24_15-02-08_458718_7011").
	// It changes on each head start, except with GCS fault tolerance. Ray before
	// 2.40 does not report it in its version answer; the client then takes it
	// from the head's raylet socket path. "" means not known yet, as for about
	// 2 s after such a head started; UnknownSession, that the cluster has none.
	Session string
}

// JobType tells a submission (by the Jobs API) from a driver that merely connected.
type JobType string

// The types that Ray lists.
const (
	JobSubmission JobType = "SUBMISSION"
	JobDriver     JobType = "DRIVER"
)

// JobStatus is a job's status, trimmed and upper-cased. Unknown values are kept.
type JobStatus string

// The statuses of submissions. A DRIVER job is only ever RUNNING or SUCCEEDED,
// where SUCCEEDED says no more than that the driver is gone (a script that
// exits with 5 is SUCCEEDED).
const (
	JobPending   JobStatus = "PENDING"
	JobRunning   JobStatus = "RUNNING"
	JobSucceeded JobStatus = "SUCCEEDED"
	JobFailed    JobStatus = "FAILED"
	JobStopped   JobStatus = "STOPPED"
)

// JobStatuses lists the known statuses of a submission in their natural order.
var JobStatuses = []JobStatus{JobPending, JobRunning, JobSucceeded, JobFailed, JobStopped}

// Terminal reports whether a job of this status will not run (again). Ray has
// no CANCELLED, but what stands in front of it may.
func (s JobStatus) Terminal() bool {
	return s == JobSucceeded || s == JobFailed || s == JobStopped || s == "CANCELLED"
}

// Job is one row of the job list. Its runtime_env is never decoded: Ray sends
// the secrets in it in clear.
type Job struct {
	Type         JobType
	SubmissionID string // "" for a DRIVER job
	// JobID is the 8-hex id of the job's last driver; "" until it called ray.init.
	JobID      string
	Status     JobStatus
	Entrypoint string // a command line; may hold secrets
	Message    string // human text; on failure with the last log lines
	ErrorType  string // "" or e.g. JOB_ENTRYPOINT_COMMAND_ERROR; always "" before Ray 2.60
	// Start is when the job was submitted (Ray's start_time; it is set while
	// the job is PENDING, and does not tell when the driver started).
	Start time.Time
	End   time.Time // zero until terminal
	// Metadata is the user's map; nil where there is none.
	Metadata map[string]string
	// DriverNodeID and DriverAgentURL are "" until the job's supervisor runs.
	DriverNodeID   string
	DriverAgentURL string // "http://10.0.0.10:52365"
	// DriverExitCode is nil until the command ended, and for a job that was
	// stopped or never started.
	DriverExitCode *int
}

// Key is the id by which the API knows the job: the submission id, else the job id.
func (j Job) Key() string {
	if j.SubmissionID != "" {
		return j.SubmissionID
	}
	return j.JobID
}

// Name is the name that the user gave the job in its metadata under
// "job_name", or "".
func (j Job) Name() string { return j.Metadata["job_name"] }

// NodeState is ALIVE or DEAD; unknown values are kept.
type NodeState string

// The states of a node. A killed raylet turns DEAD after about 14 s.
const (
	NodeAlive NodeState = "ALIVE"
	NodeDead  NodeState = "DEAD"
)

// Node is one node, with its readings where the cluster has current ones.
type Node struct {
	ID     string
	IP     string
	Name   string // Ray's node_name, by default the IP
	Host   string // host name, "" where not told
	Head   bool
	State  NodeState
	Labels map[string]string
	Start  time.Time
	End    time.Time // zero while alive
	// DeathReason is an enum such as UNEXPECTED_TERMINATION; "" while alive or
	// where not told.
	DeathReason string
	// Resources maps real resource names (object_store_memory, not
	// objectStoreMemory) to totals. Empty for a dead node.
	Resources map[string]float64
	// Usage is what is used of Resources, where the cluster's list of nodes tells
	// it (as text, memory rounded to a hundredth of its unit). Where
	// ClusterStatus.ByNode has the node, that is exact.
	Usage map[string]Usage
	// Stats holds the last readings; nil for a node that is not ALIVE, or
	// whose readings are old or missing.
	Stats *NodeStats
	// StatsUnavailable is true where the nodes could be listed but their readings
	// could not be asked for: Stats and DeathReason are then unknown, not absent.
	StatsUnavailable bool
}

// NodeStats are a live node's readings, in bytes and ratios (0 to 1).
type NodeStats struct {
	At             time.Time // when the node's agent took them
	CPURatio       float64   // 0 to 1 over all logical CPUs
	CPUUnknown     bool      // CPURatio was not told: it is 0 then
	CPUs           int       // logical CPUs; 0 where not told
	MemTotal       float64   // 0 where the node's memory was not told
	MemUsed        float64
	MemAvailable   float64
	Disks          []Disk // by mount, sorted
	ObjectStore    *ObjectStore
	Workers        int
	WorkersUnknown bool       // Workers was not told: it is 0 then
	LoadAvg        [3]float64 // 1, 5, 15 minutes
	HasLoad        bool
	GPUs           []GPU
	TPUs           []TPU
	NetworkSent    float64 // bytes since boot
	NetworkRecv    float64
	HasNetwork     bool
	DashboardAgent int // the node agent's HTTP port, 0 if not told
}

// Disk is one mount of a node, in bytes.
type Disk struct {
	Mount             string
	Total, Used, Free float64
}

// ObjectStore is a node's share of the object store, in bytes.
type ObjectStore struct{ Used, Available float64 }

// GPU is one accelerator's readings. Utilization is a ratio and nil where the
// driver does not tell; memory is in bytes (Ray sends MB), MemTotal 0 where it
// does not tell that.
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

// Demand is a shape of resources that Count pending tasks, actors or bundles
// wait for.
type Demand struct {
	Resources map[string]float64
	Count     int
}

// The versions of Ray's autoscaler.
const (
	AutoscalerV1 = "v1"
	AutoscalerV2 = "v2" // KubeRay's newer default
)

// ClusterStatus is the autoscaler's view: it is rewritten every 5 s.
//
// Ray camel-cases resource names here. The client maps them back by
// camel-casing the real names of the node list; a name that no real name, or
// more than one, maps to is dropped and counted in Unmapped.
//
// A nil Usage: there is no status (yet).
type ClusterStatus struct {
	// Autoscaler is the version that the status comes from, "" where there is
	// no status. Version 2 tells no ByNode, and no At: it answers as of now.
	Autoscaler string
	At         time.Time // when Ray wrote it
	Usage      map[string]Usage
	ByNode     map[string]map[string]Usage // node id -> resource
	Pending    []Demand                    // tasks and actors
	PGs        []Demand                    // bundles of pending placement groups, one Demand a bundle shape
	// PGsUnknown: what placement groups wait for could not be learnt.
	PGsUnknown bool
	Unmapped   int
}

// Truncation tells what is missing from a list. Ray cuts lists at 10,000 rows,
// silently and arbitrarily.
type Truncation struct {
	Total int // rows that matched at the source (known even where the list was cut)
	// Truncated is true where rows are missing from the answer.
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

// TaskList is the unfinished and the failed tasks, as far as the GCS keeps them.
type TaskList struct {
	Tasks []Task
	Truncation
	// Dropped is how many attempts, of any state, the GCS no longer keeps (it
	// keeps 100,000 by default): the tasks among them are in no count here.
	// Known only where it makes a difference to the counts, else 0.
	Dropped int
	// ByState holds exact totals per state, and is set only where the list was
	// truncated: it costs Ray one request per state.
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

// StateCounts counts rows by state. A state that no row has is absent.
type StateCounts struct {
	ByState map[string]int
	Truncation
}

// ServeStatus is what Serve's controller says. The zero value: Serve is not running.
type ServeStatus struct {
	Running      bool // a controller answered
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
	RoutePrefix  string // "" where it has none
	DocsPath     string
	Status       string
	Message      string // may be a traceback
	Source       string // imperative or declarative; "" before Ray tells it
	LastDeployed time.Time
	Deployments  []ServeDeployment
}

// ServeDeployment is one deployment of an application.
type ServeDeployment struct {
	Name           string
	Status         string
	Message        string
	TargetReplicas *int           // nil where not told
	Replicas       map[string]int // by state; empty where not told
	ReplicaCount   *int           // all of them, whatever their state; nil where not told
	DeadReplicas   *int           // recently died ones; nil where Ray does not tell (before 2.60)
}

// ServeProxy is one HTTP or gRPC proxy of Serve.
type ServeProxy struct {
	NodeID string
	NodeIP string
	Status string
}
