package config

import (
	"errors"
	"fmt"
	"regexp"
	resyntax "regexp/syntax"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Collector configures the metrics of clusters.
type Collector struct {
	// Whether metrics of clusters are collected.
	Enabled bool `yaml:"enabled"`
	// How long a response is cached for all scrapes; at least 50 times what it took
	// to get. Use a second less than the scrape interval: then each scrape of one
	// Prometheus gets new values, and ten Prometheus servers cost Ray what one costs.
	CacheTTL Duration `yaml:"cache_ttl"`
	// Resources, and the demand for them.
	Cluster CollectorCluster `yaml:"cluster"`
	// Jobs.
	Jobs CollectorJobs `yaml:"jobs"`
	// Nodes.
	Nodes CollectorNodes `yaml:"nodes"`
	// Tasks.
	Tasks CollectorTasks `yaml:"tasks"`
	// Actors and placement groups.
	Actors CollectorActors `yaml:"actors"`
	// Serve.
	Serve CollectorServe `yaml:"serve"`
	// Metrics to omit from /metrics and /probe, raytap's own included: regular
	// expressions for the whole name. One that matches no metric causes a warning.
	// It saves series, not requests to Ray.
	ExcludeMetrics []Pattern `yaml:"exclude_metrics"`
}

// CollectorCluster configures the metrics of resources and demand.
type CollectorCluster struct {
	// Whether to collect resources and demand.
	Enabled bool `yaml:"enabled"`
	// Whether to collect demand by shape (CPU=1,GPU=1) too, the 20 largest.
	DemandShapes bool `yaml:"demand_shapes"`
}

// CollectorJobs configures the metrics of jobs.
type CollectorJobs struct {
	// Whether to collect jobs.
	Enabled bool `yaml:"enabled"`
	// How long a job has metrics after its end, and a node after its death.
	Retention Duration `yaml:"retention"`
	// Maximum number of jobs with metrics. Running and failed ones come first.
	Max int `yaml:"max"`
	// Keys of a job's metadata to add to raytap_job_info, as labels metadata_KEY.
	Metadata []string `yaml:"metadata"`
}

// CollectorNodes configures the metrics of nodes.
type CollectorNodes struct {
	// Whether to collect nodes.
	Enabled bool `yaml:"enabled"`
	// Maximum number of nodes with metrics. Live ones come first.
	Max int `yaml:"max"`
	// Keys of node labels to add to raytap_node_info, as labels label_KEY.
	Labels []string `yaml:"labels"`
}

// CollectorTasks configures the metrics of tasks.
type CollectorTasks struct {
	// Whether to collect tasks.
	Enabled bool `yaml:"enabled"`
	// How long a list of tasks, actors or placement groups is cached; at least 50
	// times what it took to get, and collector.cache_ttl.
	CacheTTL Duration `yaml:"cache_ttl"`
	// Whether to have a series for each task name too.
	ByName bool `yaml:"by_name"`
	// Maximum number of series of each metric of tasks.
	MaxSeries int `yaml:"max_series"`
}

// CollectorActors configures the metrics of actors and placement groups.
type CollectorActors struct {
	// Whether to collect actors and placement groups.
	Enabled bool `yaml:"enabled"`
}

// CollectorServe configures the metrics of Serve.
type CollectorServe struct {
	// Whether to collect Serve.
	Enabled bool `yaml:"enabled"`
	// Maximum number of applications and deployments, and of proxies, with metrics.
	Max int `yaml:"max"`
}

// Pattern is a regular expression for a whole text.
type Pattern struct{ *regexp.Regexp }

// UnmarshalText parses Go's syntax.
func (p *Pattern) UnmarshalText(text []byte) error {
	whole, err := regexp.Compile("^(?:" + string(text) + ")$")
	var wrong *resyntax.Error
	if errors.As(err, &wrong) {
		return fmt.Errorf("is not a regular expression: %s", wrong.Code)
	}
	p.Regexp = whole
	return err
}

// String returns the pattern as it was written.
func (p Pattern) String() string {
	return strings.TrimSuffix(strings.TrimPrefix(p.Regexp.String(), "^(?:"), ")$")
}

// MarshalText returns String.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// maxLabelKeys bounds the labels that the configuration adds to one metric.
const maxLabelKeys = 16

// notInLabel matches what a label name cannot contain, and _, which replaces it.
var notInLabel = regexp.MustCompile("[^a-zA-Z0-9]")

func (k *checker) collector(c *Collector) {
	k.minDuration("collector.cache_ttl", c.CacheTTL, time.Second)
	k.minDuration("collector.jobs.retention", c.Jobs.Retention, time.Second)
	k.min("collector.jobs.max", int64(c.Jobs.Max), 1)
	k.minDuration("collector.tasks.cache_ttl", c.Tasks.CacheTTL, time.Second)
	k.min("collector.tasks.max_series", int64(c.Tasks.MaxSeries), 1)
	k.min("collector.serve.max", int64(c.Serve.Max), 1)
	k.min("collector.nodes.max", int64(c.Nodes.Max), 1)
	k.labelKeys("collector.jobs.metadata", c.Jobs.Metadata)
	k.labelKeys("collector.nodes.labels", c.Nodes.Labels)
}

// labelKeys checks keys that become label names of one metric: characters that
// a label name cannot contain become _, and no two keys may become the same name.
func (k *checker) labelKeys(at string, keys []string) {
	if len(keys) > maxLabelKeys {
		k.fail(at, "has %d keys; one metric can have at most %d of these labels", len(keys), maxLabelKeys)
	}
	first := map[string]string{}
	for i, key := range keys {
		path := at + "[" + strconv.Itoa(i) + "]"
		name := notInLabel.ReplaceAllString(key, "_")
		switch other, taken := first[name]; {
		case key == "" || len(key) > maxName || !utf8.ValidString(key):
			k.fail(path, "must be 1 to %d bytes of UTF-8", maxName)
		case taken:
			k.fail(path, "becomes the same label name as %q", bounded(other))
		}
		first[name] = key
	}
}
