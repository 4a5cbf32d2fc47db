package collector

import (
	"slices"
	"strings"
)

// maxResources bounds the distinct names of resources per family and cluster:
// users make up their own.
const maxResources = 100

// names is the set of resource names that get series.
type names struct {
	keep map[string]bool
	over int // how many names did not fit
}

// pickResources chooses among the names that all goes through: Ray's own four
// first, then alphabetically, so that the choice is the same at each scrape.
//
// Ray's markers "node:…", by which work is bound to a node, are no resources
// that anybody uses up, and there is one per node: they are left out.
func pickResources(all func(yield func(name string))) names {
	found := make(map[string]bool)
	all(func(name string) {
		if !strings.HasPrefix(name, "node:") {
			found[name] = true
		}
	})
	if len(found) <= maxResources {
		return names{keep: found}
	}
	list := make([]string, 0, len(found))
	for name := range found {
		list = append(list, name)
	}
	largestRank(list, func(name string) int {
		if slices.Contains([]string{"CPU", "GPU", "memory", "object_store_memory"}, name) {
			return 0
		}
		return 1
	}, func(name string) string { return name })
	keep := make(map[string]bool, maxResources)
	for _, name := range list[:maxResources] {
		keep[name] = true
	}
	return names{keep: keep, over: len(list) - maxResources}
}
