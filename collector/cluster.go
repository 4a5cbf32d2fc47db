package collector

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/ray"
)

// This file: the cluster as a whole: what it is, its logical resources, and
// what waits for them.

type versionSource interface {
	Version(context.Context) (ray.Version, error)
}

type statusSource interface {
	ClusterStatus(context.Context) (ray.ClusterStatus, error)
}

// maxShapes bounds the shapes of demand that are shown.
const maxShapes = 20

var versionTable = table[ray.Version]{
	source: "version call, cached for collector.cache_ttl (14s).",
	rows: []row[ray.Version]{
		{
			name:   "cluster_info",
			help:   "The cluster's Ray version and the session of its head; 1. The session is empty where the cluster does not tell it.",
			labels: []string{"ray_version", "session"},
			series: func(v ray.Version, emit *emitter) { emit.series(1, v.Ray, v.Session) },
		},
	},
}

// statusView is a cluster status with what is shown of it.
type statusView struct {
	ray.ClusterStatus
	names  names
	shapes bool // whether what waits is shown by shape
	top    []shape
	over   int // shapes that did not fit
}

var statusTable = table[statusView]{
	source: statusFresh,
	rows: []row[statusView]{
		{
			name: "cluster_status_available", help: "1 if there is a cluster status, 0 if Ray has none: then nothing is known of the cluster's resources and of what waits for them, and there are no series of it.",
			value: func(s statusView) (float64, bool) { return number(s.Usage != nil), true },
		},
		{
			name: "autoscaler_info", help: "1 with the version of the autoscaler that the cluster status is from, v1 or v2 (KubeRay's newer default); absent where there is no status.", labels: []string{"version"},
			series: func(s statusView, emit *emitter) {
				if s.Autoscaler != "" {
					emit.series(1, s.Autoscaler)
				}
			},
		},
		{
			name: "cluster_status_timestamp_seconds", help: "Unix time when Ray wrote the cluster status. Absent with autoscaler v2, which makes one for each request.",
			value: func(s statusView) (float64, bool) { return unix(s.At) },
		},
		{
			name:   "cluster_resources",
			help:   "Logical resources of all nodes together; memory in bytes, others in units of the resource. Ray's node:... markers are left out.",
			labels: []string{"resource"},
			series: func(s statusView, emit *emitter) {
				for name, u := range s.Usage {
					if s.names.keep[name] {
						emit.series(u.Total, name)
					}
				}
			},
		},
		{
			name:   "cluster_resources_used",
			help:   "Logical resources in use on all nodes together; memory in bytes (with autoscaler v2 rounded to 0.01 of its unit), others in units of the resource.",
			labels: []string{"resource"},
			series: func(s statusView, emit *emitter) {
				for name, u := range s.Usage {
					if s.names.keep[name] {
						emit.series(u.Used, name)
					}
				}
			},
		},
		{
			name:   "pending_demand",
			help:   "Resources that pending tasks and actors wait for, 0 for a resource of the cluster that nothing waits for; memory in bytes.",
			labels: []string{"resource"},
			series: func(s statusView, emit *emitter) { s.demand(s.Pending, emit) },
		},
		{
			name:   "pending_placement_group_demand",
			help:   "Resources that bundles of pending placement groups wait for, 0 for a resource of the cluster that nothing waits for; memory in bytes. Absent where they could not be listed.",
			labels: []string{"resource"},
			series: func(s statusView, emit *emitter) {
				if !s.PGsUnknown {
					s.demand(s.PGs, emit)
				}
			},
		},
		{
			name:   "pending_shape_demand",
			help:   "Pending tasks and actors by the shape of their demand, the 20 most wanted. Only where the configuration asks for it.",
			labels: []string{"shape"},
			series: func(s statusView, emit *emitter) {
				for _, shape := range s.top {
					emit.series(float64(shape.count), shape.name)
				}
			},
		},
		{
			name: "pending_shapes_overflow", help: "Shapes of demand that are not shown because there are more than 20. Only where the configuration asks for shapes.",
			value: func(s statusView) (float64, bool) { return float64(s.over), s.shapes },
		},
		{
			name: "cluster_resources_overflow", help: "Names of resources that are not shown because there are more than 100.",
			value: func(s statusView) (float64, bool) { return float64(s.names.over), true },
		},
		{
			name: "cluster_resources_unmapped", help: "Resources of the cluster status that are not shown because their real name is not known: Ray camel-cases names there.",
			value: func(s statusView) (float64, bool) { return float64(s.Unmapped), true },
		},
	},
}

func (s statusView) demand(all []ray.Demand, emit *emitter) {
	sum := make(map[string]float64)
	for name := range s.Usage {
		sum[name] = 0
	}
	for _, d := range all {
		for name, amount := range d.Resources {
			sum[name] += amount * float64(d.Count)
		}
	}
	for name, amount := range sum {
		if s.names.keep[name] {
			emit.series(amount, name)
		}
	}
}

type shape struct {
	name  string
	count int
}

// topShapes gives the most wanted shapes in a canonical spelling, "CPU=1,GPU=1",
// and how many there are besides.
func topShapes(all []ray.Demand) (top []shape, over int) {
	counts := make(map[string]int)
	for _, d := range all {
		var b strings.Builder
		for i, name := range slices.Sorted(maps.Keys(d.Resources)) {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(name + "=" + strconv.FormatFloat(d.Resources[name], 'g', -1, 64))
		}
		counts[label(b.String())] += d.Count
	}
	shapes := make([]shape, 0, len(counts))
	for name, count := range counts {
		shapes = append(shapes, shape{name, count})
	}
	largestRank(shapes, func(s shape) int { return -s.count }, func(s shape) string { return s.name })
	fit := min(len(shapes), maxShapes)
	return shapes[:fit], len(shapes) - fit
}

type versionCollector struct {
	source versionSource
	table  bound[ray.Version]
}

func newVersion(source versionSource, s settings) *versionCollector {
	return &versionCollector{source: source, table: versionTable.bind(s)}
}

func (c *versionCollector) collect(ctx context.Context, out *sink) error {
	v, err := c.source.Version(ctx)
	if err != nil {
		return err
	}
	c.table.emit(out, v)
	return nil
}

type statusCollector struct {
	source statusSource
	shapes bool
	table  bound[statusView]
	log    statusLog
}

func newStatus(source statusSource, s settings, o StatusOptions, log logrus.FieldLogger) *statusCollector {
	return &statusCollector{source: source, shapes: o.Shapes, table: statusTable.bind(s), log: newStatusLog(log)}
}

func (c *statusCollector) collect(ctx context.Context, out *sink) error {
	status, err := c.source.ClusterStatus(ctx)
	if err != nil {
		return err
	}
	c.log.note(status, time.Now())
	picked := pickResources(func(yield func(string)) {
		for name := range status.Usage {
			yield(name)
		}
		for _, d := range slices.Concat(status.Pending, status.PGs) {
			for name := range d.Resources {
				yield(name)
			}
		}
	})
	v := statusView{ClusterStatus: status, names: picked, shapes: c.shapes}
	if c.shapes {
		v.top, v.over = topShapes(status.Pending)
	}
	c.table.emit(out, v)
	return nil
}
