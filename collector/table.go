package collector

import (
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

const (
	namespace    = "raytap"
	clusterLabel = "ray_cluster"
)

// Family describes a metric family of the exposition.
type Family struct {
	Name   string
	Help   string
	Type   string   // gauge, counter or histogram
	Labels []string // ray_cluster first
}

// row defines one metric of a resource T. Exactly one of value and series is set.
type row[T any] struct {
	name    string // without the namespace
	help    string
	counter bool
	labels  []string // after those of the table
	// value returns the metric's only value, and false if it is absent.
	value func(T) (float64, bool)
	// series emits any number of series.
	series func(T, *emitter)
	// maxSeries is the maximum number of series of one T; further ones are only counted.
	// 0: no limit.
	maxSeries int
	// unique means that series never emits the same labels twice. Otherwise all series of
	// one T are compared with each other, which suits about a hundred.
	unique bool
}

// table defines the metrics of a resource T.
type table[T any] struct {
	// source ends each help text: where the values come from, and how old they may be.
	source string
	// labels identify a T; emit takes their values.
	labels []string
	rows   []row[T]
}

// settings apply to all tables of a cluster.
type settings struct {
	cluster string
	exclude func(family string) bool // nil: none is excluded
}

// bound is a table for one cluster.
type bound[T any] struct {
	id    *int // identifies the table
	names []*string
	rows  []boundRow[T]
}

type boundRow[T any] struct {
	row[T]
	desc *desc
}

func (t table[T]) bind(s settings) bound[T] {
	cluster, name := label(s.cluster), clusterLabel
	common := &dto.LabelPair{Name: &name, Value: &cluster}
	b := bound[T]{id: new(int), names: pointers(t.labels)}
	for _, r := range t.rows {
		family := namespace + "_" + r.name
		if s.exclude != nil && s.exclude(family) {
			continue
		}
		all := slices.Concat([]string{clusterLabel}, t.labels, r.labels)
		d := &desc{
			family: family, help: t.help(r),
			counter: r.counter, common: common, names: pointers(r.labels), maxSeries: r.maxSeries, unique: r.unique,
		}
		sorted := slices.Sorted(slices.Values(all))
		for _, name := range all {
			d.labelOrder = append(d.labelOrder, slices.Index(sorted, name))
		}
		b.rows = append(b.rows, boundRow[T]{row: r, desc: d})
	}
	return b
}

func pointers(names []string) []*string {
	out := make([]*string, len(names))
	for i := range names {
		out[i] = &names[i]
	}
	return out
}

func (t table[T]) help(r row[T]) string {
	if t.source == "" {
		return r.help
	}
	return r.help + " Source: " + t.source
}

func (t table[T]) families() []Family {
	var all []Family
	for _, r := range t.rows {
		kind := "gauge"
		if r.counter {
			kind = "counter"
		}
		all = append(all, Family{
			Name: namespace + "_" + r.name, Help: t.help(r), Type: kind,
			Labels: slices.Concat([]string{clusterLabel}, t.labels, r.labels),
		})
	}
	return all
}

// emit adds the series of v to out. ids are the values of the table's labels. If an entity
// with these labels was added before, its series are only counted as duplicates.
func (b bound[T]) emit(out *seriesBuffer, v T, ids ...string) {
	named := make([]*dto.LabelPair, len(ids), maxIDs)
	for i, id := range ids {
		named[i] = out.newPair(b.names[i], id)
	}
	if !out.isFirst(b.id, named) {
		var repeated seriesBuffer
		b.write(&repeated, v, named)
		out.duplicates += repeated.len() + repeated.duplicates + repeated.overflow
		return
	}
	b.write(out, v, named)
}

// write adds the series of v to out. Rows without labels of their own share one list.
func (b bound[T]) write(out *seriesBuffer, v T, ids []*dto.LabelPair) {
	var common []*dto.LabelPair
	for i := range b.rows {
		r := &b.rows[i]
		if r.value == nil {
			r.series(v, out.begin(r.desc, ids))
			continue
		}
		x, ok := r.value(v)
		if !ok || x != x { // Python's JSON can hold NaN, which means no value
			continue
		}
		if common == nil {
			common = out.labels(r.desc, ids, nil)
		}
		out.add(r.desc, x, common)
	}
}

// Families returns all families that a Collector and Requests can show, sorted by name.
func Families() []Family {
	all := slices.Concat(
		upTable.families(), selfTable.families(), skippedTable.families(), skippedFieldsTable.families(), requestFamilies(),
		newVersionTable(kubernetesLabels).families(), statusTable.families(), nodeUsageTable.families(),
		jobsTable.families(), newJobTable(nil).families(), finishedTable.families(), driverNodeTable.families(),
		nodesTable.families(), newNodeTable(nil).families(), statsTable.families(),
		tasksTable.families(), actorsTable.families(), groupsTable.families(),
		serveTable.families(), applicationTable.families(), deploymentTable.families(), proxyTable.families(),
		hardwareTable.families(), hardwareNodeTable.families(),
	)
	slices.SortFunc(all, func(a, b Family) int { return strings.Compare(a.Name, b.Name) })
	return all
}
