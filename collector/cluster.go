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

// This file: the cluster as a whole: its version, its logical resources and the
// pending demand.

type versionSource interface {
	Version(context.Context) (ray.Version, error)
}

type statusSource interface {
	ClusterStatus(context.Context) (ray.ClusterStatus, error)
}

// maxShapes is the maximum number of shapes of pending demand.
const maxShapes = 20

// kubernetesLabels are the labels of cluster_info that every cluster of Kubernetes has.
var kubernetesLabels = []string{"k8s_namespace", "owner_kind", "owner_name", "uid"}

// versionView is a cluster's version, and the values of further labels.
type versionView struct {
	ray.Version
	labels map[string]string
}

// newVersionTable returns the table of a version, with further labels of cluster_info.
func newVersionTable(labels []string) table[versionView] {
	return table[versionView]{
		source: "version request, cached for collector.cache_ttl (14s).",
		rows: []row[versionView]{{
			name:   "cluster_info",
			help:   "The cluster's Ray version and the session of its head; always 1. The session is empty if the cluster does not report it. For a RayCluster that raytap found in Kubernetes also its namespace, its uid, the kind and the name of what made it (RayJob, RayService), and the labels that cluster_labels lists.",
			labels: slices.Concat([]string{"ray_version", "session"}, labels),
			series: func(v versionView, emit *emitter) {
				emit.series(1, slices.Concat([]string{v.Ray, v.Session}, valuesOf(v.labels, labels))...)
			},
		}},
	}
}

// collectVersion returns a collectFunc of the cluster's version.
func collectVersion(source versionSource, s settings, o InfoOptions) collectFunc {
	labels := o.Labels
	if o.Values != nil {
		labels = slices.Concat(kubernetesLabels, labels)
	}
	t := newVersionTable(labels).bind(s)
	return func(ctx context.Context, out *seriesBuffer) error {
		v, err := source.Version(ctx)
		if err != nil {
			return err
		}
		view := versionView{Version: v}
		if o.Values != nil {
			view.labels = o.Values()
		}
		t.emit(out, view)
		return nil
	}
}

// statusView is a cluster status and the selection of it that is shown.
type statusView struct {
	ray.ClusterStatus
	names    resourceNames
	shapes   bool // pending demand is shown by shape
	top      []shape
	overflow int // shapes beyond maxShapes
}

var statusTable = table[statusView]{
	source: statusFresh,
	rows: []row[statusView]{
		{
			name: "cluster_status_available", help: "1 if Ray has a cluster status. 0 if it has none: then metrics of the cluster's resources and of pending demand are absent.",
			value: func(s statusView) (float64, bool) { return number(s.Usage != nil), true },
		},
		{
			name: "autoscaler_info", help: "Version of the autoscaler that reports the cluster status: v1, or v2 (the default of newer KubeRay); always 1. Absent without a status.", labels: []string{"version"},
			series: func(s statusView, emit *emitter) {
				if s.Autoscaler != "" {
					emit.series(1, s.Autoscaler)
				}
			},
		},
		{
			name: "cluster_status_timestamp_seconds", help: "Unix time when Ray wrote the cluster status. Absent with autoscaler v2, which creates one for each request.",
			value: func(s statusView) (float64, bool) { return unix(s.At) },
		},
		{
			name:   "cluster_resources",
			help:   "Logical resources of all nodes together. Memory in bytes, others in units of the resource. Ray's node:... markers are excluded.",
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
			help:   "Logical resources in use on all nodes together. Memory in bytes (with autoscaler v2 rounded to 0.01 of its unit), others in units of the resource.",
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
			help:   "Resources requested by pending tasks and actors, 0 for a resource of the cluster that has no pending demand. Memory in bytes.",
			labels: []string{"resource"},
			series: func(s statusView, emit *emitter) { s.demand(s.Pending, emit) },
		},
		{
			name:   "pending_placement_group_demand",
			help:   "Resources requested by bundles of pending placement groups, 0 for a resource of the cluster that has no pending demand. Memory in bytes. Absent if they could not be listed.",
			labels: []string{"resource"},
			series: func(s statusView, emit *emitter) {
				if !s.PGsUnknown {
					s.demand(s.PGs, emit)
				}
			},
		},
		{
			name:   "pending_shape_demand",
			help:   "Pending tasks and actors by the shape of their demand, for the 20 most frequent shapes. Requires collector.cluster.demand_shapes.",
			labels: []string{"shape"},
			series: func(s statusView, emit *emitter) {
				for _, shape := range s.top {
					emit.series(float64(shape.count), shape.name)
				}
			},
		},
		{
			name: "pending_shapes_overflow", help: "Shapes of pending demand that are not shown because there are more than 20. Requires collector.cluster.demand_shapes.",
			value: func(s statusView) (float64, bool) { return float64(s.overflow), s.shapes },
		},
		{
			name: "cluster_resources_overflow", help: "Resources that are not shown because there are more than 100 names.",
			value: func(s statusView) (float64, bool) { return float64(s.names.overflow), true },
		},
		{
			name: "cluster_resources_unmapped", help: "Resources of the cluster status that are not shown because their real name is unknown: Ray converts names to camel case there.",
			value: func(s statusView) (float64, bool) { return float64(s.Unmapped), true },
		},
	},
}

// demand emits the resources that all the demands request together.
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

// topShapes returns the most frequent shapes in canonical form, "CPU=1,GPU=1", and the
// number of other shapes.
func topShapes(all []ray.Demand) (top []shape, overflow int) {
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
	sortByRank(shapes, func(s shape) int { return -s.count }, func(s shape) string { return s.name })
	fit := min(len(shapes), maxShapes)
	return shapes[:fit], len(shapes) - fit
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

func (c *statusCollector) collect(ctx context.Context, out *seriesBuffer) error {
	status, err := c.source.ClusterStatus(ctx)
	if err != nil {
		return err
	}
	c.log.observe(status, time.Now())
	names := selectResources(func(yield func(string)) {
		for name := range status.Usage {
			yield(name)
		}
		for _, d := range slices.Concat(status.Pending, status.PGs) {
			for name := range d.Resources {
				yield(name)
			}
		}
	})
	v := statusView{ClusterStatus: status, names: names, shapes: c.shapes}
	if c.shapes {
		v.top, v.overflow = topShapes(status.Pending)
	}
	c.table.emit(out, v)
	return nil
}
