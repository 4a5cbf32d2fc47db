package shipper

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"raytap/ray"
)

// counters are the series of a shipper's counters, by family and labels.
func counters(t *testing.T, m *Metrics) map[string]bool {
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

// An increase that makes a series is not seen as one.
func TestEveryCounterIsThereBeforeItCounts(t *testing.T) {
	for name, s := range map[string]*Shipper{
		"bytes":      {opts: Options{Cluster: "prod"}, tails: &tailCluster{client: &filesAlone{}}},
		"an old Ray": {opts: Options{Cluster: "prod", Protocol: ProtocolHTTP}, tails: &tailCluster{client: &oldRay{}}},
		"messages":   {opts: Options{Cluster: "prod", Protocol: ProtocolAuto}, tails: &tailCluster{message: struct{ MessageClient }{}}},
	} {
		m := NewMetrics()
		m.join(s)
		before := counters(t, m)
		if len(before) < 40 {
			t.Errorf("%s: only %d series", name, len(before))
		}
		now := time.Now()
		for _, l := range []limiter{{Limits: Limits{MaxLines: 1}}, {Limits: Limits{MaxBytes: 1}}} {
			l.admit(1, now)
			m.limits.WithLabelValues("prod", l.admit(1, now))
		}
		over := limiter{Limits: Limits{MaxMessages: 1}}
		m.limits.WithLabelValues("prod", over.admitMessages(2, now))
		for _, err := range []error{errComplete, errLimited, errReplaced, errClosed, errSilent, errShortReplay, errRunEnded, errNotStarted, errUnproven, errLost, errFramingMismatch, errNoSlot, errBetterTransport, errMemoryPressure, ray.ErrTransportNotAllowed, errors.New("anything")} {
			m.ends.WithLabelValues("prod", endReason(err))
		}
		for code := 400; code < 600; code++ {
			m.ends.WithLabelValues("prod", endReason(&ray.Error{Code: code}))
		}
		c := conditions{protocol: s.opts.Protocol, messages: s.tails.message != nil, support: s.tails.support(now)}
		for _, w := range (&selector{}).candidates(c) {
			m.bytes.WithLabelValues("prod", w.String())
			m.replayed.WithLabelValues("prod", w.String())
			m.steps.WithLabelValues("prod", w.String())
		}
		for series := range counters(t, m) {
			if !before[series] {
				t.Errorf("%s: %s was not there", name, series)
			}
		}
		m.leave(s)
		for _, series := range slices.Collect(maps.Keys(counters(t, m))) {
			if strings.Contains(series, "prod") {
				t.Errorf("%s: %s outlives its cluster", name, series)
			}
		}
	}
}
