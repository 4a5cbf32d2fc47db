package collector

import (
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// Exposition is the metrics of a cluster in one scrape. It is immutable, and safe for
// concurrent use.
type Exposition struct{ buffers []*seriesBuffer }

func (e Exposition) samples(yield func(*sample) bool) {
	for _, s := range e.buffers {
		for _, full := range s.samples.blocks {
			for i := range full {
				if !yield(&full[i]) {
					return
				}
			}
		}
	}
}

// Without returns the exposition without the series that others have, too. Clusters that follow
// each other under one name can have the same.
func (e Exposition) Without(others ...Exposition) Exposition {
	families, known := map[string]bool{}, map[string]bool{}
	for s := range e.samples {
		families[s.desc.family] = true
	}
	for _, o := range others {
		for s := range o.samples {
			if families[s.desc.family] {
				known[s.key()] = true
			}
		}
	}
	out := &seriesBuffer{}
	for s := range e.samples {
		if !known[s.key()] {
			out.add(s.desc, s.value, s.metric.Label)
		}
	}
	return Exposition{buffers: []*seriesBuffer{out}}
}

// key identifies the series.
func (s *sample) key() string {
	key := []byte(s.desc.family)
	for _, l := range s.metric.Label {
		key = strconv.AppendQuote(append(key, *l.Name...), *l.Value)
	}
	return string(key)
}

// Gather merges the expositions of clusters into families sorted by name; the series
// of a family have no particular order. Callers must not change the result, and must
// not pass two expositions of clusters with the same name.
//
// It does not use a registry, which would cost as much as everything else in a scrape:
// Collect has already excluded duplicate series and invalid labels.
func Gather(all ...Exposition) []*dto.MetricFamily {
	byName := make(map[string]*dto.MetricFamily)
	byDesc := make(map[*desc]*dto.MetricFamily)
	var families []*dto.MetricFamily
	for _, e := range all {
		for s := range e.samples {
			f := byDesc[s.desc]
			if f == nil {
				if f = byName[s.desc.family]; f == nil {
					f = s.desc.newFamily()
					byName[s.desc.family] = f
					families = append(families, f)
				}
				byDesc[s.desc] = f
			}
			f.Metric = append(f.Metric, &s.metric)
		}
	}
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(*a.Name, *b.Name) })
	return families
}

// newFamily returns the family of a row, without series.
func (d *desc) newFamily() *dto.MetricFamily {
	kind := dto.MetricType_GAUGE
	if d.counter {
		kind = dto.MetricType_COUNTER
	}
	return &dto.MetricFamily{Name: &d.family, Help: &d.help, Type: &kind}
}
