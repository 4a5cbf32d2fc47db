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

// page is a parsed /metrics page.
type page map[string]*dto.MetricFamily

func (d *daemon) page(t *testing.T) (page, error) {
	t.Helper()
	body, err := get(t.Context(), d.url+"/metrics")
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	return families, err
}

func (d *daemon) mustPage(t *testing.T) page {
	t.Helper()
	p, err := d.page(t)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// sum adds the values of a family's series that have all of the labels
// ("name=value"); ok is false where there is none.
func (p page) sum(family string, labels ...string) (total float64, ok bool) {
	for _, m := range p[family].GetMetric() {
		if matches(m, labels) {
			total += value(m)
			ok = true
		}
	}
	return total, ok
}

// want is nil if the family's series with the labels add up to want.
func (p page) want(want float64, family string, labels ...string) error {
	got, ok := p.sum(family, labels...)
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
