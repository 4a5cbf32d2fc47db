package collector_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"raytap/collector"
)

func TestGather_SeveralClusters(t *testing.T) {
	now := time.Now()
	a := collector.New(full(now), collector.Options{Cluster: "a", SkippedRows: func() uint64 { return 1 }}).Collect(t.Context())
	b := collector.New(swamped(now), collector.Options{Cluster: "b"}).Collect(t.Context())
	got := collector.Gather(a, b)
	byName := func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) }
	if !slices.IsSortedFunc(got, byName) {
		t.Error("the families are not sorted")
	}
	want := gather(t, registered{a, b}) // which fails on a series or a family that comes twice
	if len(got) != len(want) {
		t.Fatalf("%d families, the registry has %d", len(got), len(want))
	}
	onlyA, onlyB := collector.Gather(a), collector.Gather(b)
	for i, f := range want {
		alone := slices.Concat(series(f, onlyA), series(f, onlyB))
		if n := len(got[i].GetMetric()); got[i].GetName() != f.GetName() || n != len(f.GetMetric()) || n != len(alone) {
			t.Errorf("%s: %d series, %d in the registry's %s, %d in the separate expositions", got[i].GetName(), n, len(f.GetMetric()), f.GetName(), len(alone))
		}
	}
}

// series returns the series of one family.
func series(like *dto.MetricFamily, families []*dto.MetricFamily) []*dto.Metric {
	for _, f := range families {
		if f.GetName() == like.GetName() {
			return f.GetMetric()
		}
	}
	return nil
}

func TestGather_Empty(t *testing.T) {
	if f := collector.Gather(); len(f) != 0 {
		t.Errorf("%d families", len(f))
	}
}
