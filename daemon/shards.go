package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"raytap/config"
	"raytap/discovery"
	"raytap/discovery/shard"
	"raytap/logthrottle"
	"raytap/shipper/checkpoint"
)

// shards separates the clusters that this raytap watches from those of other shards, and
// counts both. The zero value has no shards: all clusters are watched.
type shards struct {
	number      int // of this raytap
	generations shard.Generations
	unfinished  map[string]bool // clusters of whose logs there are positions here

	own, others int      // clusters
	misplaced   []string // clusters of other shards in unfinished
	elsewhere   []string // uids of clusters of other shards: they exist, so their positions stay
}

// newShards returns the shards of a configuration, with no clusters yet. positions are
// those of this raytap. An error means that its number is not known.
func newShards(c config.Sharding, hostname func() (string, error), positions *checkpoint.Store) (shards, error) {
	var s shards
	for _, g := range c.Generations {
		s.generations = append(s.generations, shard.Generation{Shards: g.Shards, From: g.From.Time})
	}
	if len(s.generations) == 0 {
		return s, nil
	}
	s.unfinished = positions.UnfinishedClusters()
	var ok bool
	if s.number, ok = c.Shard.Number(); ok {
		return s, nil
	}
	name, err := hostname()
	if err == nil {
		s.number, err = shard.Ordinal(name)
	}
	if err != nil {
		return shards{}, &config.Problems{List: []config.Problem{{Path: "sharding.shard", Value: c.Shard.String(), Message: err.Error()}}}
	}
	return s, nil
}

// owns reports whether this raytap watches a cluster, and counts it. uid is "" and
// created zero for a cluster that Kubernetes does not know.
func (s *shards) owns(c config.Cluster, uid string, created time.Time) bool {
	id := cmp.Or(uid, c.Name)
	owner, byHand := c.Shard.Number()
	if !byHand {
		owner = s.generations.Owner(id, created)
	}
	if len(s.generations) == 0 || owner == s.number {
		s.own++
		return true
	}
	s.others++
	if uid != "" {
		s.elsewhere = append(s.elsewhere, uid)
	}
	if s.unfinished[id] || s.unfinished[c.Name] { // under its name before Kubernetes was asked
		s.misplaced = append(s.misplaced, fmt.Sprintf("%s belongs to shard %d", c.Name, owner))
	}
	return false
}

// configured reports which clusters of the configuration this raytap watches, and how many it
// does not.
func (s *shards) configured(clusters []config.Cluster) (here []bool, elsewhere int) {
	here = make([]bool, len(clusters))
	for i, c := range clusters {
		if here[i] = s.owns(c, "", time.Time{}); !here[i] {
			elsewhere++
		}
	}
	return here, elsewhere
}

// keep returns those of found that this raytap watches.
func (s *shards) keep(found []discovery.Cluster) []discovery.Cluster {
	own := found[:0:0]
	for _, c := range found {
		if s.owns(c.Cluster, c.UID, c.Created) {
			own = append(own, c)
		}
	}
	return own
}

// shardState shows on /metrics and in the log what became of the shards.
type shardState struct {
	info, shards, clusters, misplaced *prometheus.GaugeVec
	idle, moved                       logthrottle.Condition
}

func newShardState(log logrus.FieldLogger) *shardState {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "raytap", Name: name, Help: help}, labels)
	}
	return &shardState{
		info:      gauge("shard_info", "Which shard this raytap is, and of how many; always 1. Like all metrics of shards only with sharding.generations.", "shard", "shards"),
		shards:    gauge("shards", "How many shards have to run: the largest number of sharding.generations."),
		clusters:  gauge("shard_clusters", "Clusters that this raytap knows, by the shard that they belong to: this one or another.", "owner"),
		misplaced: gauge("shard_misplaced_clusters", "Clusters of other shards of which this one has unfinished logs: sharding.generations or a shard were changed for clusters that exist. The log shows which."),
		idle:      logthrottle.Condition{Log: log},
		moved:     logthrottle.Condition{Log: log},
	}
}

// Describe implements prometheus.Collector.
func (m *shardState) Describe(ch chan<- *prometheus.Desc) {
	for _, v := range []*prometheus.GaugeVec{m.info, m.shards, m.clusters, m.misplaced} {
		v.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *shardState) Collect(ch chan<- prometheus.Metric) {
	for _, v := range []*prometheus.GaugeVec{m.info, m.shards, m.clusters, m.misplaced} {
		v.Collect(ch)
	}
}

// set shows s.
func (m *shardState) set(s shards) {
	m.info.Reset() // a reload may have changed the labels, or ended sharding
	largest := s.generations.Largest()
	if largest == 0 {
		m.shards.Reset()
		m.clusters.Reset()
		m.misplaced.Reset()
	} else {
		m.info.WithLabelValues(strconv.Itoa(s.number), strconv.Itoa(largest)).Set(1)
		m.shards.WithLabelValues().Set(float64(largest))
		m.clusters.WithLabelValues("this").Set(float64(s.own))
		m.clusters.WithLabelValues("another").Set(float64(s.others))
		m.misplaced.WithLabelValues().Set(float64(len(s.misplaced)))
	}
	if largest > 0 && s.number >= largest {
		m.idle.Failed("No cluster belongs to this shard", fmt.Errorf("sharding.generations has the shards 0 to %d, this one is %d", largest-1, s.number))
	} else {
		m.idle.Recovered("Clusters can belong to this shard")
	}
	if len(s.misplaced) > 0 {
		m.moved.Failed("Logs are not shipped by the shard that began to, change sharding back", errors.New(strings.Join(s.misplaced, "; ")))
	} else {
		m.moved.Recovered("This shard has no unfinished logs of clusters of other shards")
	}
}
