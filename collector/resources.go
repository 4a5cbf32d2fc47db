package collector

import (
	"slices"
	"strings"
)

// maxResources is the maximum number of resource names per family and cluster: users
// define their own.
const maxResources = 100

// resourceNames is the set of resource names that have series.
type resourceNames struct {
	keep     map[string]bool
	overflow int // names beyond maxResources
}

// selectResources selects from the names that all yields: Ray's own four first, then in
// alphabetical order, so that the selection is the same at each scrape.
//
// Ray's markers "node:…", which tie work to a node, are excluded: they are not consumed,
// and there is one for each node.
func selectResources(all func(yield func(name string))) resourceNames {
	found := make(map[string]bool)
	all(func(name string) {
		if !strings.HasPrefix(name, "node:") {
			found[name] = true
		}
	})
	if len(found) <= maxResources {
		return resourceNames{keep: found}
	}
	list := make([]string, 0, len(found))
	for name := range found {
		list = append(list, name)
	}
	sortByRank(list, func(name string) int {
		if slices.Contains([]string{"CPU", "GPU", "memory", "object_store_memory"}, name) {
			return 0
		}
		return 1
	}, func(name string) string { return name })
	keep := make(map[string]bool, maxResources)
	for _, name := range list[:maxResources] {
		keep[name] = true
	}
	return resourceNames{keep: keep, overflow: len(list) - maxResources}
}
