package collector

import (
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// Page is what a cluster shows in one scrape. It does not change; safe for
// concurrent use.
type Page struct{ sinks []*sink }

func (p Page) samples(yield func(*sample) bool) {
	for _, s := range p.sinks {
		for _, full := range s.samples.blocks {
			for i := range full {
				if !yield(&full[i]) {
					return
				}
			}
		}
	}
}

// Gather gives the pages of clusters as one, sorted by family; within one the
// order is any. What it gives is not to be changed. No two pages may be of
// clusters with the same name.
//
// It does without a registry, which costs as much as all the rest together:
// that no series comes twice and no label is invalid has been seen to when the
// pages were made.
func Gather(pages ...Page) []*dto.MetricFamily {
	byName := make(map[string]*dto.MetricFamily)
	byLine := make(map[*line]*dto.MetricFamily)
	var all []*dto.MetricFamily
	for _, p := range pages {
		for s := range p.samples {
			f := byLine[s.line]
			if f == nil {
				if f = byName[s.line.family]; f == nil {
					f = s.line.empty()
					byName[s.line.family] = f
					all = append(all, f)
				}
				byLine[s.line] = f
			}
			f.Metric = append(f.Metric, &s.metric)
		}
	}
	slices.SortFunc(all, func(a, b *dto.MetricFamily) int { return strings.Compare(*a.Name, *b.Name) })
	return all
}

// empty gives the family of a row without its series.
func (l *line) empty() *dto.MetricFamily {
	kind := dto.MetricType_GAUGE
	if l.counter {
		kind = dto.MetricType_COUNTER
	}
	return &dto.MetricFamily{Name: &l.family, Help: &l.help, Type: &kind}
}
