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

// Family describes one metric family as it stands on the page.
type Family struct {
	Name   string
	Help   string
	Type   string   // gauge, counter or histogram
	Labels []string // ray_cluster first
}

// row is one metric of a resource T: the only place where its name, help and
// type stand. Exactly one of value and series is set.
type row[T any] struct {
	name    string // without the namespace
	help    string
	counter bool
	labels  []string // after those of the table
	// value gives the metric's one value; false where it is absent.
	value func(T) (float64, bool)
	// series gives any number of them.
	series func(T, *emitter)
	// most bounds the series of one T; those beyond it are counted. 0 is no bound.
	most int
	// unique says that series never emits the same labels twice. Others are
	// compared with each other, which is for a hundred or so.
	unique bool
}

// table is the metrics of a resource T.
type table[T any] struct {
	// source tells where the values come from and how old they may be; it ends
	// each help text.
	source string
	// labels name the thing that a T is; emit gives their values.
	labels []string
	rows   []row[T]
}

// settings are what a configuration makes of all tables of a cluster.
type settings struct {
	cluster string
	drop    func(family string) bool // nil: nothing is dropped
}

// bound is a table for one cluster.
type bound[T any] struct {
	id    *int // tells it from others
	names []*string
	rows  []boundRow[T]
}

type boundRow[T any] struct {
	row[T]
	line *line
}

func (t table[T]) bind(s settings) bound[T] {
	cluster, name := label(s.cluster), clusterLabel
	common := &dto.LabelPair{Name: &name, Value: &cluster}
	b := bound[T]{id: new(int), names: pointers(t.labels)}
	for _, r := range t.rows {
		family := namespace + "_" + r.name
		if s.drop != nil && s.drop(family) {
			continue
		}
		all := slices.Concat([]string{clusterLabel}, t.labels, r.labels)
		l := &line{
			family: family, help: t.help(r),
			counter: r.counter, common: common, names: pointers(r.labels), most: r.most, unique: r.unique,
		}
		sorted := slices.Sorted(slices.Values(all))
		for _, name := range all {
			l.place = append(l.place, slices.Index(sorted, name))
		}
		b.rows = append(b.rows, boundRow[T]{row: r, line: l})
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

// emit writes what v has into out. ids are the values of the table's labels.
func (b bound[T]) emit(out *sink, v T, ids ...string) {
	named := make([]*dto.LabelPair, len(ids), maxIDs)
	for i, id := range ids {
		named[i] = out.newPair(b.names[i], id)
	}
	if !out.first(b.id, named) {
		var again sink
		b.write(&again, v, named)
		out.duplicates += again.len() + again.duplicates + again.over
		return
	}
	b.write(out, v, named)
}

// write writes what v has. Rows without labels of their own share one list.
func (b bound[T]) write(out *sink, v T, ids []*dto.LabelPair) {
	var common []*dto.LabelPair
	for i := range b.rows {
		r := &b.rows[i]
		if r.value == nil {
			r.series(v, out.begin(r.line, ids))
			continue
		}
		x, ok := r.value(v)
		if !ok || x != x { // Python's JSON can hold NaN; no reading is no reading
			continue
		}
		if common == nil {
			common = out.labels(r.line, ids, nil)
		}
		out.add(r.line, x, common)
	}
}

// Families lists every family that a Collector and Requests can show, sorted by name.
func Families() []Family {
	all := slices.Concat(
		upTable.families(), selfTable.families(), skippedTable.families(), skippedFieldsTable.families(), requestFamilies(),
		versionTable.families(), statusTable.families(), usageTable.families(),
		jobsTable.families(), newJobTable(nil).families(), finishedTable.families(), driverTable.families(),
		nodesTable.families(), newNodeTable(nil).families(), statsTable.families(),
		tasksTable.families(), actorsTable.families(), groupsTable.families(),
		serveTable.families(), applicationTable.families(), deploymentTable.families(), proxyTable.families(),
		hardwareTable.families(), hardwareNodeTable.families(),
	)
	slices.SortFunc(all, func(a, b Family) int { return strings.Compare(a.Name, b.Name) })
	return all
}
