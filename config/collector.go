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

// Collector is the metrics half.
type Collector struct {
	// Whether there are metrics of clusters at all.
	Enabled bool `yaml:"enabled"`
	// How long an answer of the cluster serves all who scrape; 50 times what it took
	// to get, if that is longer. Keep it a second below the scrape interval: then one
	// Prometheus gets new answers each time, and ten cost Ray what one costs.
	CacheTTL Duration `yaml:"cache_ttl"`
	// Resources, and what waits for them.
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
	// Families that are on no page, raytap's own among them: those whose whole name a
	// pattern matches. One that matches none is warned of. It spares the page, not Ray.
	ExcludeMetrics []Pattern `yaml:"exclude_metrics"`
}

// CollectorCluster is about the cluster's resources and what waits for them.
type CollectorCluster struct {
	// Whether resources and demand are shown.
	Enabled bool `yaml:"enabled"`
	// Also what waits by shape (CPU=1,GPU=1), the 20 largest.
	DemandShapes bool `yaml:"demand_shapes"`
}

// CollectorJobs bounds what is shown of jobs.
type CollectorJobs struct {
	// Whether jobs are shown.
	Enabled bool `yaml:"enabled"`
	// How long a job stays on the page after its end, and a node after its death.
	Retention Duration `yaml:"retention"`
	// The most jobs shown; running and failed ones come first.
	Max int `yaml:"max"`
	// Keys of a job's metadata that raytap_job_info carries, as metadata_KEY.
	Metadata []string `yaml:"metadata"`
}

// CollectorNodes is about nodes.
type CollectorNodes struct {
	// Whether nodes are shown.
	Enabled bool `yaml:"enabled"`
	// The most nodes shown; live ones come first.
	Max int `yaml:"max"`
	// Keys of node labels that raytap_node_info carries, as label_KEY.
	Labels []string `yaml:"labels"`
}

// CollectorTasks bounds what tasks cost Ray and the page.
type CollectorTasks struct {
	// Whether tasks are shown.
	Enabled bool `yaml:"enabled"`
	// How long an answer on tasks, actors or placement groups serves; 50 times what
	// it took to get, or collector.cache_ttl, if one of them is longer.
	CacheTTL Duration `yaml:"cache_ttl"`
	// A series for each task name as well.
	ByName bool `yaml:"by_name"`
	// The most series of each kind about tasks.
	MaxSeries int `yaml:"max_series"`
}

// CollectorActors is about actors and placement groups.
type CollectorActors struct {
	// Whether actors and placement groups are shown.
	Enabled bool `yaml:"enabled"`
}

// CollectorServe bounds what is shown of Serve.
type CollectorServe struct {
	// Whether Serve is shown.
	Enabled bool `yaml:"enabled"`
	// The most applications and deployments shown, and the most proxies.
	Max int `yaml:"max"`
}

// Pattern is a regular expression that has to match the whole of a text.
type Pattern struct{ *regexp.Regexp }

// UnmarshalText takes Go's syntax.
func (p *Pattern) UnmarshalText(text []byte) error {
	whole, err := regexp.Compile("^(?:" + string(text) + ")$")
	var wrong *resyntax.Error
	if errors.As(err, &wrong) {
		return fmt.Errorf("is not a regular expression: %s", wrong.Code)
	}
	p.Regexp = whole
	return err
}

// String is the pattern as it was given.
func (p Pattern) String() string {
	return strings.TrimSuffix(strings.TrimPrefix(p.Regexp.String(), "^(?:"), ")$")
}

// MarshalText is String.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// maxLabelKeys bounds the labels that one metric gets by configuration.
const maxLabelKeys = 16

// notInLabel is what the name of a label cannot hold, and _, which stands for it.
var notInLabel = regexp.MustCompile("[^a-zA-Z0-9]")

func (k *checker) collector(c *Collector) {
	k.lasts("collector.cache_ttl", c.CacheTTL, time.Second)
	k.lasts("collector.jobs.retention", c.Jobs.Retention, time.Second)
	k.atLeast("collector.jobs.max", int64(c.Jobs.Max), 1)
	k.lasts("collector.tasks.cache_ttl", c.Tasks.CacheTTL, time.Second)
	k.atLeast("collector.tasks.max_series", int64(c.Tasks.MaxSeries), 1)
	k.atLeast("collector.serve.max", int64(c.Serve.Max), 1)
	k.atLeast("collector.nodes.max", int64(c.Nodes.Max), 1)
	k.labelKeys("collector.jobs.metadata", c.Jobs.Metadata)
	k.labelKeys("collector.nodes.labels", c.Nodes.Labels)
}

// labelKeys checks keys that become labels of one metric: what a label's name
// cannot hold becomes _ there, and two must not become the same.
func (k *checker) labelKeys(at string, keys []string) {
	if len(keys) > maxLabelKeys {
		k.fail(at, "has %d keys; at most %d are labels of one metric", len(keys), maxLabelKeys)
	}
	first := map[string]string{}
	for i, key := range keys {
		path := at + "[" + strconv.Itoa(i) + "]"
		name := notInLabel.ReplaceAllString(key, "_")
		switch other, taken := first[name]; {
		case key == "" || len(key) > maxName || !utf8.ValidString(key):
			k.fail(path, "must be 1 to %d bytes of UTF-8", maxName)
		case taken:
			k.fail(path, "would be the same label as %q", bounded(other))
		}
		first[name] = key
	}
}
