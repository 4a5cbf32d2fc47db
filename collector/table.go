package collector

import (
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"
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

// yield emits one series of a family, with the values of its own labels.
type yield func(value float64, labels ...string)

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
	series func(T, yield)
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

// bound is a table for one cluster.
type bound[T any] struct {
	rows []boundRow[T]
}

type boundRow[T any] struct {
	row[T]
	desc *prometheus.Desc
}

func (t table[T]) bind(cluster string) bound[T] {
	b := bound[T]{rows: make([]boundRow[T], 0, len(t.rows))}
	for _, r := range t.rows {
		b.rows = append(b.rows, boundRow[T]{row: r, desc: prometheus.NewDesc(
			namespace+"_"+r.name, t.help(r), slices.Concat(t.labels, r.labels),
			prometheus.Labels{clusterLabel: label(cluster)},
		)})
	}
	return b
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
	for i := range b.rows {
		r := &b.rows[i]
		kind := prometheus.GaugeValue
		if r.counter {
			kind = prometheus.CounterValue
		}
		if r.value != nil {
			if x, ok := r.value(v); ok {
				out.add(r.name, r.desc, kind, x, ids, nil)
			}
			continue
		}
		r.series(v, func(x float64, labels ...string) {
			out.add(r.name, r.desc, kind, x, ids, labels)
		})
	}
}

// sink gathers the series of one resource. It drops and counts those that
// would break the whole page: a second one with the same labels. Not safe for
// concurrent use; the zero value is ready.
type sink struct {
	metrics    []prometheus.Metric
	duplicates int

	seen   map[uint64]struct{}
	labels []string // scratch
	digest *xxhash.Digest
}

func (s *sink) add(name string, desc *prometheus.Desc, kind prometheus.ValueType, value float64, ids, labels []string) {
	if value != value {
		return // Python's JSON can hold NaN; no reading is no reading
	}
	s.labels = s.labels[:0]
	for _, v := range ids {
		s.labels = append(s.labels, label(v))
	}
	for _, v := range labels {
		s.labels = append(s.labels, label(v))
	}
	if s.again(name) {
		s.duplicates++
		return
	}
	m, err := prometheus.NewConstMetric(desc, kind, value, s.labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(desc, err) // a mistake in a table: it must fail the tests, not hide
	}
	s.metrics = append(s.metrics, m)
}

// again reports whether this name came with these labels before.
func (s *sink) again(name string) bool {
	if s.seen == nil {
		s.seen, s.digest = make(map[uint64]struct{}), xxhash.New()
	}
	s.digest.Reset()
	write := func(v string) {
		_, _ = s.digest.WriteString(v) // never fails
		_, _ = s.digest.WriteString("\xff")
	}
	write(name)
	for _, v := range s.labels {
		write(v)
	}
	key := s.digest.Sum64()
	if _, ok := s.seen[key]; ok {
		return true
	}
	s.seen[key] = struct{}{}
	return false
}

// Families lists every family that a Collector and Requests can show, sorted by name.
func Families() []Family {
	all := slices.Concat(
		upTable.families(), selfTable.families(), requestFamilies(),
		versionTable.families(), statusTable.families(), usageTable.families(),
		jobsTable.families(), jobTable.families(), finishedTable.families(), driverTable.families(),
		nodesTable.families(), nodeTable.families(), statsTable.families(),
		tasksTable.families(), actorsTable.families(), groupsTable.families(),
		serveTable.families(), applicationTable.families(), deploymentTable.families(), proxyTable.families(),
	)
	slices.SortFunc(all, func(a, b Family) int { return strings.Compare(a.Name, b.Name) })
	return all
}
