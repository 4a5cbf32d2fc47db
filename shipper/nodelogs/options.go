// Package nodelogs ships the logs that lie on the nodes of a cluster, from the agents of the
// nodes: .out and .err of every worker process, and, as selected, the logs of Ray Serve, of
// Ray's own processes, and its events.
//
// Files, from the top down:
//
//   - cluster.go: Cluster, which follows the sessions of a cluster; session.go: the nodes of
//     one session, and which log directory each of them serves
//   - directory.go: one log directory: when it is listed and its files are looked at;
//     listing.go: what a listing says; backfill.go: which old files are skipped; workers.go:
//     which workers are dead
//   - sources.go: the logs that are not of workers
//   - entry.go: a file at rest; look.go: one look at it; pipeline.go: bytes to records
//   - jobs.go: whose lines they are; end.go: the end of a node or a session
//
// Package names knows the names of files, package schedule when a look is due, and package
// rotation reads a log through its rotations.
//
// A file at rest has no goroutine and no buffer. A directory has one goroutine, which starts
// at most maxLooks looks at once.
package nodelogs

import (
	"cmp"
	"context"
	"io"
	"time"

	"raytap/shipper/aggregate"
	"raytap/shipper/tail"

	"github.com/sirupsen/logrus"

	"raytap/ray"
)

// The sources of logs, in records, metrics and the configuration.
const (
	SourceWorker = "worker"
	SourceServe  = "serve"
	SourceSystem = "system"
	SourceEvent  = "event"
)

// Client reads the nodes of a cluster and the files of their agents. An error for a file or
// directory that does not exist has ray.Code 404.
type Client interface {
	NodeWorkers(ctx context.Context) ([]ray.NodeWorkers, error)
	AgentFileIndex(ctx context.Context, agentURL, dir string) (ray.FileIndex, error)
	AgentFileStat(ctx context.Context, agentURL, name string) (ray.FileStat, error)
	AgentFile(ctx context.Context, agentURL, name string, from, to int64) (ray.FilePart, error)
	// ServeReplicas returns the ids of the replicas of Ray Serve, by the ids of their workers.
	ServeReplicas(ctx context.Context) (map[string]string, error)
}

// Backfill is what is shipped of the files that exist in a directory when it is first seen,
// if its node is older than that.
type Backfill int

// The values of Backfill.
const (
	BackfillRunning Backfill = iota // files of workers that are alive
	BackfillAll
	BackfillNone
)

// Options are the settings of a Cluster. The zero value of each field means its default.
type Options struct {
	Cluster string // the records' ray_cluster and the metrics' label
	ID      string // what the positions are kept under; Cluster
	// Sources are which logs are shipped, by source; none: all of workers.
	Sources  map[string]Files
	Backfill Backfill
	// Selects reports whether the logs of a job are shipped; nil: all. It is not
	// called for a job of which nothing is known.
	Selects   func(ray.Job) bool
	Record    tail.RecordOptions
	Aggregate aggregate.Options
	Limits    tail.Limits // of one log; MaxMessages does not apply
	Log       logrus.FieldLogger
}

// SourceNames returns the sources that are shipped, at least one; that of workers comes first.
func (o *Options) SourceNames() (list []string) {
	if len(o.Sources) == 0 {
		return []string{SourceWorker}
	}
	for _, source := range []string{SourceWorker, SourceServe, SourceSystem, SourceEvent} {
		if _, ok := o.Sources[source]; ok {
			list = append(list, source)
		}
	}
	return list
}

func (o Options) withDefaults() Options {
	o.ID = cmp.Or(o.ID, o.Cluster)
	if len(o.Sources) == 0 {
		o.Sources = map[string]Files{SourceWorker: {}}
	}
	if o.Selects == nil {
		o.Selects = func(ray.Job) bool { return true }
	}
	if o.Limits.MaxMessageSize == 0 {
		o.Limits.MaxMessageSize = 256 << 10
	}
	if o.Log == nil {
		l := logrus.New()
		l.SetOutput(io.Discard)
		o.Log = l
	}
	return o
}

const (
	// nodesInterval is the pause between two lists of the nodes. Ray renews the workers in it
	// every 15 s (2.60.0).
	nodesInterval = 10 * time.Second
	// maxLooks is how many looks and listings of one directory may run at once,
	// maxClusterLooks how many of a cluster.
	maxLooks        = 4
	maxClusterLooks = 16
	// maxFiles and maxDirectoryFiles are how many files are read of a cluster and of one
	// directory. Those beyond are counted.
	maxFiles          = 20_000
	maxDirectoryFiles = 10_000
	// A listing costs an agent up to a second of CPU for 50,000 files (2.60.0): the next one
	// is minListing after it, or listingPause times as long as it took: under 0.5 % of a core.
	// If that is longer than longListing, workers that the list of nodes names are read before a
	// listing has shown their logs.
	minListing   = 10 * time.Second
	listingPause = 200
	longListing  = time.Minute
	// oldListing is how many listings of logs/ there are for one of old/.
	oldListing = 10
	// maxListed is the number of files above which a directory is listed only once in
	// crowdedListing.
	maxListed      = 50_000
	crowdedListing = time.Hour
	// trustAfter is for how long a node must be listed as alive after its agent has shown
	// files none of which is known to be the node's. Ray notices after about 14 s that a node
	// is dead (2.60.0), and its address may be used by another cluster at once.
	trustAfter = time.Minute
	// jobWait is how long a log waits for the job list to name its job, and for Ray Serve to
	// name the replica.
	jobWait = 15 * time.Second
	// replicaWait is for how long replicas are requested for a log that could not wait for its own,
	// because it is rotated.
	replicaWait = time.Minute
	// A worker is dead if two lists of its node's workers lack it that are deadAfter apart.
	deadAfter = 20 * time.Second
	// stillAfter is how long the log of a dead worker must be still before it has ended, and
	// keepEnded how long it is looked at after the worker's death.
	stillAfter = 5 * time.Second
	keepEnded  = 10 * time.Minute
	// decideAfter is how long the backfill waits for a list of a node's workers after its
	// directory was first seen, and decideBy how long at most.
	decideAfter = 20 * time.Second
	decideBy    = time.Minute
	// retireBy is how long the writer may take until it accepts that a log is not read any more.
	retireBy = time.Minute
	// quietAfter is how long after its last record a log counts as quiet when its node ends.
	quietAfter = time.Minute
	// maxPause is the longest pause after failures of an agent.
	maxPause = 30 * time.Second
	// lookBytes is how much one look reads of a log before others have their turn.
	lookBytes = 4 << 20
)
