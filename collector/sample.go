package collector

import (
	"slices"

	dto "github.com/prometheus/client_model/go"
)

// This file: how series come to be. A page of a big cluster has some 100,000,
// so that what they have in common is made once: a label's pair for a value that
// comes often, the labels of a thing for all its metrics, memory by the block.

// sample is a series with its value, in one piece of memory.
type sample struct {
	line   *line
	metric dto.Metric
	gauge  dto.Gauge // of a gauge
	value  float64
}

// line is what the series of a row have in common.
type line struct {
	family  string
	help    string
	counter bool
	common  *dto.LabelPair // the cluster's
	names   []*string      // of its own labels
	place   []int          // of the cluster's label, the table's and its own among all by name
	most    int
	unique  bool
}

// emitter takes the series that a row has of one thing. It is good until the
// next row begins.
type emitter struct {
	out   *sink
	line  *line
	ids   []*dto.LabelPair
	own   [][]*dto.LabelPair // the labels of its series so far, unless they are unique
	count int
}

// series emits one series, with the values of the row's own labels.
func (e *emitter) series(value float64, labels ...string) {
	if value != value {
		return
	}
	all := e.out.labels(e.line, e.ids, labels)
	switch {
	case !e.line.unique && e.again(all):
		e.out.duplicates++
		return
	case e.line.most > 0 && e.count >= e.line.most:
		e.out.over++
		return
	case !e.line.unique:
		e.own = append(e.own, all)
	}
	e.count++
	e.out.add(e.line, value, all)
}

// state is series for a row with one label.
func (e *emitter) state(value float64, state string) { e.series(value, state) }

// again reports whether labels came before.
func (e *emitter) again(labels []*dto.LabelPair) bool {
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

// pairKey is a value as it was given, under the label of a row that it is for.
type pairKey struct {
	name  *string
	value string
}

// maxShared bounds the pairs that are remembered: states, resources and the
// like. Of values that hardly come twice there may be many more.
const maxShared = 512

// maxIDs is the most labels that a table has.
const maxIDs = 2

// thing is what the labels of a table name, as they are shown.
type thing struct {
	table *int
	ids   [maxIDs]string
}

// sink gathers the series of one resource. Not safe for concurrent use; the
// zero value is ready.
type sink struct {
	duplicates int // series left out because they came before
	over       int // series left out by a row's cap

	samples block[sample]
	pairs   block[pair]
	lists   []*dto.LabelPair // what is left of a block
	shared  map[pairKey]*dto.LabelPair
	things  map[thing]struct{} // that have their series already
	emitter emitter
}

// len is how many series there are.
func (s *sink) len() int { return s.samples.len() }

// add adds a series.
func (s *sink) add(l *line, value float64, labels []*dto.LabelPair) {
	m := s.samples.next()
	m.line, m.value, m.metric.Label = l, value, labels
	if l.counter {
		m.metric.Counter = &dto.Counter{Value: &m.value}
		return
	}
	m.gauge.Value, m.metric.Gauge = &m.value, &m.gauge
}

// first reports whether a table's thing comes for the first time.
func (s *sink) first(table *int, ids []*dto.LabelPair) bool {
	t := thing{table: table}
	for i, p := range ids {
		t.ids[i] = p.GetValue()
	}
	if _, again := s.things[t]; again {
		return false
	}
	if s.things == nil {
		s.things = make(map[thing]struct{})
	}
	s.things[t] = struct{}{}
	return true
}

// begin gives the emitter of a row's series of one thing.
func (s *sink) begin(l *line, ids []*dto.LabelPair) *emitter {
	s.emitter = emitter{out: s, line: l, ids: ids, own: s.emitter.own[:0]}
	return &s.emitter
}

// labels gives a series' labels, by name.
func (s *sink) labels(l *line, ids []*dto.LabelPair, values []string) []*dto.LabelPair {
	all := s.list(len(l.place))
	all[l.place[0]] = l.common
	for i, p := range ids {
		all[l.place[1+i]] = p
	}
	for i, value := range values {
		all[l.place[1+len(ids)+i]] = s.pair(l.names[i], value)
	}
	return all
}

// pair gives a label's pair, which may be one that it gave before.
func (s *sink) pair(name *string, value string) *dto.LabelPair {
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

func (s *sink) newPair(name *string, value string) *dto.LabelPair {
	p := s.pairs.next()
	p.value = label(value)
	p.dto.Name, p.dto.Value = name, &p.value
	return &p.dto
}

// list gives a list of n pairs to fill.
func (s *sink) list(n int) []*dto.LabelPair {
	if len(s.lists) < n {
		s.lists = make([]*dto.LabelPair, 4*lastBlock)
	}
	l := s.lists[:n:n]
	s.lists = s.lists[n:]
	return l
}

// block holds values of a T, whose memory it gets many at a time.
type block[T any] struct {
	blocks [][]T // the last one is being filled
}

const (
	firstBlock = 16
	lastBlock  = 512
)

// next gives a zero value that stays where it is.
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

// len is how many it gave.
func (b *block[T]) len() int {
	n := 0
	for _, full := range b.blocks {
		n += len(full)
	}
	return n
}
