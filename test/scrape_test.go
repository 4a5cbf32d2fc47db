//go:build e2e && linux

package test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// metrics is a parsed exposition.
type metrics map[string]*dto.MetricFamily

func (d *daemon) scrape(t *testing.T) (metrics, error) {
	t.Helper()
	body, err := get(t.Context(), d.url+"/metrics")
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	return families, err
}

func (d *daemon) mustScrape(t *testing.T) metrics {
	t.Helper()
	m, err := d.scrape(t)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sum returns the sum of a family's series that have all of the labels ("name=value");
// ok is false if there are none.
func (m metrics) sum(family string, labels ...string) (total float64, ok bool) {
	for _, series := range m[family].GetMetric() {
		if matches(series, labels) {
			total += value(series)
			ok = true
		}
	}
	return total, ok
}

// want returns an error unless the family's series with the labels add up to want.
func (m metrics) want(want float64, family string, labels ...string) error {
	got, ok := m.sum(family, labels...)
	if !ok {
		return fmt.Errorf("%s%v is absent, want %g", family, labels, want)
	}
	if got != want {
		return fmt.Errorf("%s%v is %g, want %g", family, labels, got, want)
	}
	return nil
}

func matches(m *dto.Metric, labels []string) bool {
	for _, label := range labels {
		name, value, _ := strings.Cut(label, "=")
		if !slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool {
			return l.GetName() == name && l.GetValue() == value
		}) {
			return false
		}
	}
	return true
}

func value(m *dto.Metric) float64 {
	switch {
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Untyped != nil:
		return m.Untyped.GetValue()
	case m.Histogram != nil:
		return float64(m.Histogram.GetSampleCount())
	}
	return 0
}
