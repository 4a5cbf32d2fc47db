// Package promql reads expressions with Prometheus' own parser and tells which
// metrics and labels they name.
package promql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
)

// target are the labels that Prometheus adds to what it scrapes.
var target = []string{"job", "instance"}

// others are the metrics beside raytap's own: those that Prometheus adds for
// each target, and those of a Go program that the dashboards show.
var others = []string{
	"up", "scrape_duration_seconds", "process_cpu_seconds_total", "process_resident_memory_bytes",
}

// Book knows the metrics that may be named.
type Book struct {
	labels map[string][]string
	parser parser.Parser
}

// NewBook makes a book of the families.
func NewBook(families []Family) *Book {
	b := &Book{labels: map[string][]string{}, parser: parser.NewParser(parser.Options{})}
	for _, f := range families {
		if f.Type != "histogram" && f.Type != "summary" {
			b.labels[f.Name] = f.Labels
			continue
		}
		b.labels[f.Name+"_sum"], b.labels[f.Name+"_count"] = f.Labels, f.Labels
		b.labels[f.Name+"_bucket"] = append(slices.Clone(f.Labels), "le")
		if f.Type == "summary" {
			b.labels[f.Name] = append(slices.Clone(f.Labels), "quantile")
		}
	}
	for _, name := range others {
		b.labels[name] = nil
	}
	return b
}

// Add enters a recorded series. Its labels are those that its expression can give.
func (b *Book) Add(name string, labels []string) { b.labels[name] = labels }

// Used is what an expression names.
type Used struct {
	Metrics []string // sorted, each once
	Labels  []string // that some series of it can have
}

// Check parses an expression and reports the first thing in it that the book
// does not know.
func (b *Book) Check(expr string) (Used, error) {
	node, err := b.parser.ParseExpr(expr)
	if err != nil {
		return Used{}, fmt.Errorf("parse: %w", err)
	}
	u := Used{Labels: slices.Clone(target)}
	parser.Inspect(node, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			err = firstError(err, b.selector(n, &u))
		case *parser.Call:
			if n.Func.Name == "label_replace" || n.Func.Name == "label_join" {
				u.Labels = append(u.Labels, strings.Trim(n.Args[1].String(), `"`))
			}
		}
		return nil
	})
	if err != nil {
		return u, err
	}
	parser.Inspect(node, func(n parser.Node, _ []parser.Node) error {
		for _, name := range named(n) {
			if !slices.Contains(u.Labels, name) {
				err = firstError(err, fmt.Errorf("no metric in it has the label %s", name))
			}
		}
		return nil
	})
	slices.Sort(u.Metrics)
	u.Metrics = slices.Compact(u.Metrics)
	return u, err
}

func (b *Book) selector(s *parser.VectorSelector, u *Used) error {
	known, ok := b.labels[s.Name]
	if !ok {
		return fmt.Errorf("there is no metric %q", s.Name)
	}
	u.Metrics = append(u.Metrics, s.Name)
	u.Labels = append(u.Labels, known...)
	for _, m := range s.LabelMatchers {
		if m.Name != model.MetricNameLabel && !slices.Contains(known, m.Name) && !slices.Contains(target, m.Name) {
			return fmt.Errorf("%s has no label %s", s.Name, m.Name)
		}
	}
	return nil
}

// named are the labels that a node groups or matches by.
func named(n parser.Node) []string {
	switch n := n.(type) {
	case *parser.AggregateExpr:
		return n.Grouping
	case *parser.BinaryExpr:
		if n.VectorMatching != nil {
			return slices.Concat(n.VectorMatching.MatchingLabels, n.VectorMatching.Include)
		}
	}
	return nil
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
