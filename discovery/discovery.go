// Package discovery finds clusters that the configuration does not list: in
// files in the format of Prometheus' file_sd.
package discovery

import (
	"fmt"
	"time"

	"raytap/config"
)

// Cluster is a cluster that was found.
type Cluster struct {
	config.Cluster
	Source string // where it was found: the name of a file, or Kubernetes

	// UID is its identity while it lives; "": its name is.
	UID string
	// Created is when it was made, for its shard; zero: not known.
	Created time.Time
	// New: it did not exist yet when raytap looked for clusters for the first time, so that
	// all of its jobs are new.
	New bool
	// Facts may change while it is watched; nil: nothing does.
	Facts *Facts
}

// Select returns those of found that can be watched next to the clusters with the
// names in taken, at most limit clusters together, and why the others cannot.
// Earlier ones take precedence.
func Select(found []Cluster, taken []string, limit int) (selected []Cluster, rejected []string) {
	names := map[string]bool{}
	for _, name := range taken {
		names[name] = true
	}
	for _, c := range found {
		switch {
		case names[c.Name]:
			rejected = append(rejected, fmt.Sprintf("%s in %s: another cluster has this name", c.Name, c.Source))
		case len(names) >= limit:
			rejected = append(rejected, fmt.Sprintf("%s in %s: max_clusters is %d", c.Name, c.Source, limit))
		default:
			names[c.Name] = true
			selected = append(selected, c)
		}
	}
	return selected, rejected
}
