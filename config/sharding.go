package config

import (
	"errors"
	"strconv"
	"time"
)

// maxShards bounds the shards of a generation.
const maxShards = 1000

// Sharding divides the clusters among several raytaps that have the same
// configuration.
type Sharding struct {
	// Which shard this raytap is: a number from 0, or auto: the number at the end of
	// the host name, as pods of a StatefulSet have one. One that no generation has
	// watches nothing.
	Shard Shard `yaml:"shard"`
	// Numbers of shards, by when a cluster was created: the last one whose from it has
	// reached holds for it. Never change or remove an older one while it has clusters.
	// Empty: this raytap watches all clusters.
	Generations []Generation `yaml:"generations"`
}

// Generation is a number of shards, and from when on it holds.
type Generation struct {
	// Number of shards: how many raytaps run. Required.
	Shards int `yaml:"shards"`
	// It holds for the clusters that Kubernetes creates from this time on. All shards
	// must have the new configuration before it. Required in all but the first
	// generation, which has none, and to which the clusters of clusters and
	// cluster_files belong.
	From Time `yaml:"from,omitempty"`
}

// Shard is the number of a shard, or auto. The zero value is auto.
type Shard int

// ShardAuto means that the shard is derived: from the host name, or from the name of
// the cluster.
const ShardAuto Shard = 0

// ShardNumber returns the shard with the number n, from 0.
func ShardNumber(n int) Shard { return Shard(n + 1) }

// Number returns the number of the shard. ok is false for auto.
func (s Shard) Number() (n int, ok bool) { return int(s) - 1, s != ShardAuto }

// UnmarshalText accepts auto or a number from 0.
func (s *Shard) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*s = ShardAuto
		return nil
	}
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 0 || n >= maxShards {
		return errors.New("must be auto, or the number of a shard, from 0 to " + strconv.Itoa(maxShards-1))
	}
	*s = ShardNumber(n)
	return nil
}

// String returns what UnmarshalText accepts.
func (s Shard) String() string {
	if n, ok := s.Number(); ok {
		return strconv.Itoa(n)
	}
	return "auto"
}

// MarshalText returns String.
func (s Shard) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Time is a point in time, written as in RFC 3339, with its time zone.
type Time struct{ time.Time }

// UnmarshalText accepts 2026-12-01T12:00:00Z and the like.
func (t *Time) UnmarshalText(text []byte) (err error) {
	if t.Time, err = time.Parse(time.RFC3339, string(text)); err != nil {
		return errors.New("is not a time with its zone, such as 2026-12-01T12:00:00Z")
	}
	return nil
}

// String returns what UnmarshalText accepts, "" for the zero time.
func (t Time) String() string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

// MarshalText returns String.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// sharding checks the generations, and that the shards that are named exist.
func (k *checker) sharding(c *Config) {
	const at = "sharding.generations"
	largest := 0
	for i, g := range c.Sharding.Generations {
		path := at + "[" + strconv.Itoa(i) + "]"
		if g.Shards < 1 || g.Shards > maxShards {
			k.fail(path+".shards", "must be 1 to %d", maxShards)
		}
		largest = max(largest, g.Shards)
		switch {
		case i == 0 && !g.From.IsZero():
			k.fail(path+".from", "must not be set in the first generation, which holds for all clusters before the second")
		case i > 0 && g.From.IsZero():
			k.fail(path+".from", "is required: from when on this number of shards holds, such as 2026-12-01T12:00:00Z")
		case i > 1 && !g.From.After(c.Sharding.Generations[i-1].From.Time):
			k.fail(path+".from", "must be after that of the generation before it")
		}
	}
	k.shard("sharding.shard", c.Sharding.Shard, largest)
	for i := range c.Clusters {
		k.shard("clusters["+strconv.Itoa(i)+"].shard", c.Clusters[i].Shard, largest)
	}
	for _, name := range sortedKeys(c.Modules) {
		k.shard("modules."+name+".cluster.shard", c.Modules[name].Cluster.Shard, largest)
	}
}

// shard checks that one of shards has the number s.
func (k *checker) shard(at string, s Shard, shards int) {
	switch n, ok := s.Number(); {
	case !ok || n < shards:
	case shards == 0:
		k.fail(at, "needs sharding.generations, such as [{shards: 2}]")
	default:
		k.fail(at, "does not exist: sharding.generations has the shards 0 to %d", shards-1)
	}
}
