package collector

import (
	"regexp"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	defaultRetention = time.Hour
	defaultMaxJobs   = 2000
	defaultMaxNodes  = 2000
	defaultMaxSeries = 1000
	defaultMaxServe  = 1000
)

// Options selects what is collected. The zero value collects everything that
// is on by default.
type Options struct {
	Cluster string // value of the label ray_cluster
	Info    InfoOptions
	Status  StatusOptions
	Jobs    JobsOptions
	Nodes   NodesOptions
	Tasks   TasksOptions
	Actors  ActorsOptions
	Serve   ServeOptions
	// Log receives the failures of single collectors. A cluster that is down as a
	// whole is not logged here. nil disables logging.
	Log logrus.FieldLogger
	// ExcludeMetrics omits the families whose full name, such as raytap_up, matches
	// one of these expressions.
	ExcludeMetrics []*regexp.Regexp
	// SkippedRows returns the number of list rows that could not be decoded so far.
	// nil: the metric is absent.
	SkippedRows func() uint64
	// SkippedFields returns the number of fields omitted or truncated so far. nil: the
	// metric is absent.
	SkippedFields func() uint64
}

// InfoOptions configures cluster_info of a cluster that was found in Kubernetes. The zero
// value is for any other cluster.
type InfoOptions struct {
	// Labels are the names of further labels, next to k8s_namespace, owner_kind,
	// owner_name and uid.
	Labels []string
	// Values returns the values of all these, which may change. A name without one has
	// the empty value. It is called at each scrape, by several goroutines. nil: no labels.
	Values func() map[string]string
}

// StatusOptions configures the cluster's resources and pending demand.
type StatusOptions struct {
	Disabled bool
	Shapes   bool // also show pending demand by shape
}

// JobsOptions configures the job list.
type JobsOptions struct {
	Disabled bool
	// Retention is how long a finished job or a dead node keeps its series; 0 is 1 h.
	Retention time.Duration
	// Max is the maximum number of jobs with series of their own; 0 is 2000.
	Max int
	// Metadata lists the keys of a job's metadata that become labels of job_info.
	Metadata []string
}

// NodesOptions configures the node list.
type NodesOptions struct {
	Disabled bool
	// Max is the maximum number of nodes with series of their own; 0 is 2000.
	Max int
	// Labels lists the keys of node labels that become labels of node_info.
	Labels []string
	// PodDeleted returns when Kubernetes began to delete the last pod that had an address;
	// zero: it did not, or this is not known. It is called at each scrape, by several
	// goroutines. nil: the nodes are not pods that raytap knows of.
	PodDeleted func(ip string) time.Time
}

// TasksOptions configures the tasks.
type TasksOptions struct {
	Disabled  bool
	ByName    bool // also count tasks by name
	MaxSeries int  // maximum number of series of each task family; 0 is 1000
}

// ActorsOptions configures actors and placement groups.
type ActorsOptions struct{ Disabled bool }

// ServeOptions configures Ray Serve.
type ServeOptions struct {
	Disabled bool
	Max      int // maximum number of applications and deployments; 0 is 1000
}

// excludes reports whether the configuration omits a family.
func (o Options) excludes(family string) bool {
	return slices.ContainsFunc(o.ExcludeMetrics, func(p *regexp.Regexp) bool { return p.MatchString(family) })
}
