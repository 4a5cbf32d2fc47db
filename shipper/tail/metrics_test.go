package tail

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/shipper/metrics"
	"raytap/shipper/writer"

	"github.com/prometheus/client_golang/prometheus"

	"raytap/ray"
)

// counters returns all series of counters, by family and labels.
func counters(t *testing.T, m *metrics.Metrics) map[string]bool {
	t.Helper()
	reg := prometheus.NewRegistry()
	if err := reg.Register(m); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, f := range families {
		for _, s := range f.GetMetric() {
			if s.GetCounter() != nil {
				all[f.GetName()+" "+s.String()] = true
			}
		}
	}
	return all
}

// Prometheus does not see the increase with which a series appears.
func TestCluster_CountersExistFromTheStart(t *testing.T) {
	for name, cl := range map[string]*Cluster{
		"bytes":       {client: noAPI{}},
		"no file API": {opts: Options{Protocol: ProtocolHTTP}, client: oldAPI{}},
		"messages":    {opts: Options{Protocol: ProtocolAuto}, messages: struct{ MessageClient }{}},
	} {
		m := metrics.New()
		leave := m.Join("prod", cl.LabelValues(), func(time.Time) metrics.ClusterStats { return metrics.ClusterStats{} })
		prod := m.ForCluster("prod")
		before := counters(t, m)
		if len(before) < 40 {
			t.Errorf("%s: only %d series, want 40 or more", name, len(before))
		}
		now := time.Now()
		for _, l := range []Limiter{{Limits: Limits{MaxLines: 1}}, {Limits: Limits{MaxBytes: 1}}} {
			l.Admit(1, now)
			prod.Limits(l.Admit(1, now))
		}
		over := Limiter{Limits: Limits{MaxMessages: 1}}
		prod.Limits(over.admitMessages(2, now))
		for _, err := range []error{errComplete, errLimited, errReplaced, errClosed, errSilent, errShortReplay, errRunEnded, errNotStarted, errUnverified, errLost, errFramingMismatch, errNoSlot, errBetterTransport, writer.ErrMemoryPressure, ray.ErrTransportNotAllowed, errors.New("anything")} {
			prod.ReadEnds(endReason(err))
		}
		for code := 400; code < 600; code++ {
			prod.ReadEnds(endReason(&ray.Error{Code: code}))
		}
		c := conditions{protocol: cl.opts.Protocol, messages: cl.messages != nil, support: cl.support(now)}
		for _, w := range (&selector{}).candidates(c) {
			prod.ReadBytes(w.String())
			prod.ReplayedBytes(w.String())
			prod.Fallbacks(w.String())
		}
		for series := range counters(t, m) {
			if !before[series] {
				t.Errorf("%s: %s did not exist from the start", name, series)
			}
		}
		leave()
		for _, series := range slices.Collect(maps.Keys(counters(t, m))) {
			if strings.Contains(series, "prod") {
				t.Errorf("%s: %s still exists after its cluster", name, series)
			}
		}
	}
}

// oldAPI is a noAPI without a file API.
type oldAPI struct{ noAPI }

func (oldAPI) LogTransports() ray.LogTransports { return ray.LogTransports{NoFile: true} }
