package collector

import (
	"slices"

	dto "github.com/prometheus/client_model/go"
)

// This file: how series are stored. A big cluster has about 100,000 of them, so that
// they share what they can: the pair of a label and a frequent value, the labels of an
// entity, and memory, which is allocated in blocks.

// sample is a series with its value, in one allocation.
type sample struct {
	desc   *desc
	metric dto.Metric
	gauge  dto.Gauge // unused for a counter
	value  float64
}

// desc is what the series of a row have in common.
type desc struct {
	family     string
	help       string
	counter    bool
	common     *dto.LabelPair // the cluster's label
	names      []*string      // of the row's own labels
	labelOrder []int          // position of each label, sorted by name: the cluster's, the table's, its own
	maxSeries  int
	unique     bool
}

// emitter receives the series that a row has for one entity. It is valid until the
// next row begins.
type emitter struct {
	out   *seriesBuffer
	desc  *desc
	ids   []*dto.LabelPair
	own   [][]*dto.LabelPair // labels of the series so far, unless unique is set
	count int
}

// series adds one series, with the values of the row's own labels.
func (e *emitter) series(value float64, labels ...string) {
	if value != value {
		return
	}
	all := e.out.labels(e.desc, e.ids, labels)
	switch {
	case !e.desc.unique && e.isDuplicate(all):
		e.out.duplicates++
		return
	case e.desc.maxSeries > 0 && e.count >= e.desc.maxSeries:
		e.out.overflow++
		return
	case !e.desc.unique:
		e.own = append(e.own, all)
	}
	e.count++
	e.out.add(e.desc, value, all)
}

// state adds one series of a row with one label.
func (e *emitter) state(value float64, state string) { e.series(value, state) }

// isDuplicate reports whether a series with these labels was added before.
func (e *emitter) isDuplicate(labels []*dto.LabelPair) bool {
	return slices.ContainsFunc(e.own, func(other []*dto.LabelPair) bool {
		return slices.EqualFunc(other, labels, func(a, b *dto.LabelPair) bool {
			return a == b || *a.Value == *b.Value
		})
	})
}

// pair is a label's name and value.
type pair struct {
	dto   dto.LabelPair
	value string
}

// pairKey is the label of a row and a value before it is truncated.
type pairKey struct {
	name  *string
	value string
}

// maxShared is the maximum number of shared pairs: states, resources and the like.
// There may be many more values that hardly occur twice.
const maxShared = 512

// maxIDs is the maximum number of labels of a table.
const maxIDs = 2

// entity is what the labels of a table identify: a job, a node.
type entity struct {
	table *int
	ids   [maxIDs]string
}

// seriesBuffer collects the series of one resource. The zero value is ready for use.
// It is not safe for concurrent use.
type seriesBuffer struct {
	duplicates int // series omitted because they were added before
	overflow   int // series omitted because of a row's maxSeries

	samples  block[sample]
	pairs    block[pair]
	lists    []*dto.LabelPair // rest of a block
	shared   map[pairKey]*dto.LabelPair
	entities map[entity]struct{} // that have been added
	emitter  emitter
}

// len returns the number of series.
func (s *seriesBuffer) len() int { return s.samples.len() }

func (s *seriesBuffer) add(d *desc, value float64, labels []*dto.LabelPair) {
	m := s.samples.next()
	m.desc, m.value, m.metric.Label = d, value, labels
	if d.counter {
		m.metric.Counter = &dto.Counter{Value: &m.value}
		return
	}
	m.gauge.Value, m.metric.Gauge = &m.value, &m.gauge
}

// isFirst reports whether an entity of a table is added for the first time, and
// remembers it.
func (s *seriesBuffer) isFirst(table *int, ids []*dto.LabelPair) bool {
	e := entity{table: table}
	for i, p := range ids {
		e.ids[i] = p.GetValue()
	}
	if _, known := s.entities[e]; known {
		return false
	}
	if s.entities == nil {
		s.entities = make(map[entity]struct{})
	}
	s.entities[e] = struct{}{}
	return true
}

// begin returns the emitter for a row's series of one entity.
func (s *seriesBuffer) begin(d *desc, ids []*dto.LabelPair) *emitter {
	s.emitter = emitter{out: s, desc: d, ids: ids, own: s.emitter.own[:0]}
	return &s.emitter
}

// labels returns the labels of a series, sorted by name.
func (s *seriesBuffer) labels(d *desc, ids []*dto.LabelPair, values []string) []*dto.LabelPair {
	all := s.list(len(d.labelOrder))
	all[d.labelOrder[0]] = d.common
	for i, p := range ids {
		all[d.labelOrder[1+i]] = p
	}
	for i, value := range values {
		all[d.labelOrder[1+len(ids)+i]] = s.pair(d.names[i], value)
	}
	return all
}

// pair returns the pair of a label and a value, which series may share.
func (s *seriesBuffer) pair(name *string, value string) *dto.LabelPair {
	key := pairKey{name, value}
	if p, ok := s.shared[key]; ok {
		return p
	}
	p := s.newPair(name, value)
	if s.shared == nil {
		s.shared = make(map[pairKey]*dto.LabelPair)
	}
	if len(s.shared) < maxShared {
		s.shared[key] = p
	}
	return p
}

func (s *seriesBuffer) newPair(name *string, value string) *dto.LabelPair {
	p := s.pairs.next()
	p.value = label(value)
	p.dto.Name, p.dto.Value = name, &p.value
	return &p.dto
}

// list returns a list of n pairs to fill in.
func (s *seriesBuffer) list(n int) []*dto.LabelPair {
	if len(s.lists) < n {
		s.lists = make([]*dto.LabelPair, 4*lastBlock)
	}
	l := s.lists[:n:n]
	s.lists = s.lists[n:]
	return l
}

// block allocates values of a T, many at a time.
type block[T any] struct {
	blocks [][]T // all full, except the last one
}

const (
	firstBlock = 16
	lastBlock  = 512
)

// next returns a new zero value, which is never moved.
func (b *block[T]) next() *T {
	n := len(b.blocks)
	if n == 0 || len(b.blocks[n-1]) == cap(b.blocks[n-1]) {
		b.blocks = append(b.blocks, make([]T, 0, min(firstBlock<<min(n, 8), lastBlock)))
		n++
	}
	last := &b.blocks[n-1]
	*last = (*last)[:len(*last)+1]
	return &(*last)[len(*last)-1]
}

// len returns the number of values.
func (b *block[T]) len() int {
	n := 0
	for _, full := range b.blocks {
		n += len(full)
	}
	return n
}
