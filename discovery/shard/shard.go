// Package shard says which of several raytaps with the same configuration watches a
// cluster. It is a function of the cluster alone: shards agree without talking to each
// other, and nothing is stored or renewed.
package shard

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Generation is a number of shards, and the clusters that it holds for: those that were
// created from From on, until From of the next generation.
type Generation struct {
	Shards int       // at least 1
	From   time.Time // zero in the first generation, ascending after it
}

// Generations are all numbers of shards that there have been, the oldest first. Adding
// one with a From that no cluster's creation time has reached moves no cluster. Empty:
// there are no shards, and every cluster belongs to shard 0.
type Generations []Generation

// Owner returns the shard of a cluster, from 0. id is what stays the same for as long as
// the cluster lives: its uid, or its name. created is when it was created according to
// Kubernetes, which every shard reads alike; zero for a cluster without such a time,
// which belongs to the first generation.
func (g Generations) Owner(id string, created time.Time) int {
	if len(g) == 0 {
		return 0
	}
	in := g[0]
	for _, next := range g[1:] {
		if next.From.After(created) {
			break
		}
		in = next
	}
	return int(xxhash.Sum64String(id) % uint64(in.Shards)) //nolint:gosec // less than Shards, which is at least 1
}

// Largest returns the largest number of shards of all generations: how many raytaps
// have to run. 0 if there are no generations.
func (g Generations) Largest() int {
	n := 0
	for _, x := range g {
		n = max(n, x.Shards)
	}
	return n
}

// Ordinal returns the number at the end of the name of a pod of a StatefulSet: 2 of
// raytap-2. An error says that the name is of another kind.
func Ordinal(pod string) (int, error) {
	i := strings.LastIndexByte(pod, '-')
	digits := pod[i+1:]
	n, err := strconv.ParseUint(digits, 10, 31)
	if i < 1 || err != nil || strconv.FormatUint(n, 10) != digits {
		return 0, fmt.Errorf("the host name %q does not end in the number of a pod, such as raytap-0: only the pods of a StatefulSet have such names. Run raytap as a StatefulSet, or set shard to a number", pod)
	}
	return int(n), nil
}
