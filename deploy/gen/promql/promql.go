// Package promql parses expressions with Prometheus' parser and finds the metrics and
// labels that they use.
package promql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
)

// targetLabels are the labels that Prometheus adds to scraped series; namespace is added by
// its operator.
var targetLabels = []string{"job", "instance", "namespace"}

// otherMetrics are metrics that are not raytap's: those that Prometheus adds for each
// target, and those of a Go program that the dashboards show.
var otherMetrics = []string{
	"up", "scrape_duration_seconds", "process_cpu_seconds_total", "process_resident_memory_bytes",
}

// Checker checks expressions against the metrics that exist.
type Checker struct {
	labels map[string][]string
	parser parser.Parser
}

// NewChecker returns a Checker for the families.
func NewChecker(families []Family) *Checker {
	c := &Checker{labels: map[string][]string{}, parser: parser.NewParser(parser.Options{})}
	for _, f := range families {
		if f.Type != "histogram" && f.Type != "summary" {
			c.labels[f.Name] = f.Labels
			continue
		}
		c.labels[f.Name+"_sum"], c.labels[f.Name+"_count"] = f.Labels, f.Labels
		c.labels[f.Name+"_bucket"] = append(slices.Clone(f.Labels), "le")
		if f.Type == "summary" {
			c.labels[f.Name] = append(slices.Clone(f.Labels), "quantile")
		}
	}
	for _, name := range otherMetrics {
		c.labels[name] = nil
	}
	return c
}

// Add adds the series of a recording rule. Its labels are those of the rule's expression.
func (c *Checker) Add(name string, labels []string) { c.labels[name] = labels }

// Used is the metrics and labels of an expression.
type Used struct {
	Metrics []string // sorted, each once
	Labels  []string // that series of it can have
}

// Check parses an expression. It returns an error for the first metric or label in it that
// does not exist.
func (c *Checker) Check(expr string) (Used, error) {
	node, err := c.parser.ParseExpr(expr)
	if err != nil {
		return Used{}, fmt.Errorf("parse: %w", err)
	}
	u := Used{Labels: slices.Clone(targetLabels)}
	parser.Inspect(node, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			err = firstError(err, c.selector(n, &u))
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
		for _, name := range labelsOf(n) {
			if !slices.Contains(u.Labels, name) {
				err = firstError(err, fmt.Errorf("no metric in the expression has the label %s", name))
			}
		}
		return nil
	})
	slices.Sort(u.Metrics)
	u.Metrics = slices.Compact(u.Metrics)
	return u, err
}

func (c *Checker) selector(s *parser.VectorSelector, u *Used) error {
	known, ok := c.labels[s.Name]
	if !ok {
		return fmt.Errorf("metric %q does not exist", s.Name)
	}
	u.Metrics = append(u.Metrics, s.Name)
	u.Labels = append(u.Labels, known...)
	for _, m := range s.LabelMatchers {
		if m.Name != model.MetricNameLabel && !slices.Contains(known, m.Name) && !slices.Contains(targetLabels, m.Name) {
			return fmt.Errorf("%s has no label %s", s.Name, m.Name)
		}
	}
	return nil
}

// labelsOf returns the labels that a node groups or matches by.
func labelsOf(n parser.Node) []string {
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
