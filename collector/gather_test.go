package collector_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"raytap/collector"
)

// text gives families in text, the series of each sorted.
func text(t *testing.T, families []*dto.MetricFamily) string {
	t.Helper()
	var out strings.Builder
	for _, f := range families {
		var b bytes.Buffer
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
		lines := slices.Collect(strings.Lines(b.String()))
		slices.Sort(lines)
		out.WriteString(strings.Join(lines, ""))
	}
	return out.String()
}

func TestGatherGivesWhatARegistryWould(t *testing.T) {
	now := time.Now()
	a := collector.New(full(now), collector.Options{Cluster: "a", SkippedRows: func() uint64 { return 1 }}).Page(t.Context())
	b := collector.New(swamped(now), collector.Options{Cluster: "b"}).Page(t.Context())
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(a, b)
	want, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := text(t, collector.Gather(a, b)), text(t, want); got != want {
		t.Errorf("got %d bytes, want %d; it begins with\n%.3000s", len(got), len(want), got)
	}
	if again := text(t, collector.Gather(a, b)); again != text(t, want) {
		t.Error("a page that was gathered before is another one")
	}
}

func TestNothingGathersToNothing(t *testing.T) {
	if f := collector.Gather(); len(f) != 0 {
		t.Errorf("%d families", len(f))
	}
}
