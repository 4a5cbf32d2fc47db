package metrics

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var values = LabelValues{Transports: []string{"file"}, Events: []string{"gap"}, EndReasons: []string{"closed"}, EndChecks: []string{"same"}, Limits: []string{"lines"}}

// exposed returns the samples of m with a cluster's label, or without one if name is "".
func exposed(t *testing.T, m *Metrics, name string) []string {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(m)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range families {
		for _, s := range f.GetMetric() {
			cluster := ""
			for _, l := range s.GetLabel() {
				if l.GetName() == "ray_cluster" {
					cluster = l.GetValue()
				}
			}
			if cluster == name {
				found = append(found, f.GetName())
			}
		}
	}
	return slices.Compact(found)
}

func none(time.Time) ClusterStats { return ClusterStats{} }

// Counters start at 0 when a cluster joins, and all of its metrics go when it leaves.
func TestMetrics_JoinAndLeave(t *testing.T) {
	m := New()
	leave := m.Join("prod", values, none)
	got := exposed(t, m, "prod")
	for _, name := range []string{"lines", "read_bytes", "events", "read_ends", "end_checks", "limits", "gaps", "transport_fallbacks"} {
		if want := "raytap_shipper_" + name + "_total"; !slices.Contains(got, want) {
			t.Errorf("no %s after Join", want)
		}
	}
	m.ForCluster("prod").Lines().Add(3)
	m.ForCluster("prod").Tails("file", "reading").Inc()
	m.ForCluster("prod").DiscoveredNow()
	if got := testutil.ToFloat64(m.ForCluster("prod").Lines()); got != 3 {
		t.Errorf("%v lines, want 3", got)
	}
	leave()
	if got := exposed(t, m, "prod"); len(got) != 0 {
		t.Errorf("after leave there is %s", strings.Join(got, " "))
	}
}

// The counters of a cluster that has left stay for a while, what it was does not. Another one of
// its name counts on.
func TestMetrics_Keep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New()
		m.Keep(5 * time.Minute)
		leave := m.Join("prod", values, none)
		m.ForCluster("prod").Gaps().Inc()
		m.ForCluster("prod").Tails("file", "reading").Inc()
		m.ForCluster("prod").DiscoveredNow()
		leave()
		time.Sleep(4 * time.Minute)
		got := exposed(t, m, "prod")
		for name, want := range map[string]bool{"gaps_total": true, "events_total": true, "tails": false, "discovery_last_success_timestamp_seconds": false, "stream_slots_in_use": false} {
			if slices.Contains(got, "raytap_shipper_"+name) != want {
				t.Errorf("after four minutes %s is there: %v", name, !want)
			}
		}
		leave = m.Join("prod", values, none)
		time.Sleep(time.Hour)
		if got := testutil.ToFloat64(m.ForCluster("prod").Gaps()); got != 1 {
			t.Errorf("%v gaps, want 1", got)
		}
		leave()
		time.Sleep(6 * time.Minute)
		if got := exposed(t, m, "prod"); len(got) != 0 || len(m.left) != 0 {
			t.Errorf("after six minutes there is %s", strings.Join(got, " "))
		}
	})
}

// A cluster that takes over a name keeps the metrics when the one before leaves.
func TestMetrics_TakeOver(t *testing.T) {
	m := New()
	leaveFirst := m.Join("prod", values, none)
	m.ForCluster("prod").Lines().Inc()
	leaveSecond := m.Join("prod", values, none)
	leaveFirst()
	if got := testutil.ToFloat64(m.ForCluster("prod").Lines()); got != 1 {
		t.Errorf("%v lines after the first cluster left, want 1", got)
	}
	leaveSecond()
	if got := exposed(t, m, "prod"); len(got) != 0 {
		t.Errorf("after both have left there is %s", strings.Join(got, " "))
	}
}

func TestMetrics_ClusterStats(t *testing.T) {
	m := New()
	m.Join("idle", LabelValues{}, none)
	for _, age := range []time.Duration{2 * time.Second, time.Second} { // two shippers with one name: the larger age
		m.Join("prod", LabelValues{}, func(time.Time) ClusterStats {
			return ClusterStats{Tails: 1, ReadAge: age, SlotsInUse: 4, AgentsRefused: map[string]int{"token": 1}}
		})
	}
	const want = `
# HELP raytap_shipper_read_age_seconds Time since the last successful read, for the log that was read longest ago. It stays low while jobs print nothing and their logs can be read.
# TYPE raytap_shipper_read_age_seconds gauge
raytap_shipper_read_age_seconds{ray_cluster="prod"} 2
`
	if err := testutil.CollectAndCompare(m, strings.NewReader(want), "raytap_shipper_read_age_seconds"); err != nil {
		t.Error(err)
	}
	if got := exposed(t, m, "idle"); !slices.Contains(got, "raytap_shipper_stream_slots_in_use") || slices.Contains(got, "raytap_node_agents_refused") {
		t.Errorf("an idle cluster has %s", strings.Join(got, " "))
	}
}

// The writer's metrics are absent without a writer, and the time of the last save before
// the first one.
func TestMetrics_Writer(t *testing.T) {
	const memory, saved = "raytap_shipper_memory_bytes", "raytap_shipper_positions_last_saved_timestamp_seconds"
	m := New()
	check := func(wantMemory, wantSaved bool) {
		t.Helper()
		got := exposed(t, m, "")
		if slices.Contains(got, memory) != wantMemory || slices.Contains(got, saved) != wantSaved {
			t.Errorf("got %s; want %s: %v, %s: %v", strings.Join(got, " "), memory, wantMemory, saved, wantSaved)
		}
	}
	check(false, false)
	stats := WriterStats{Queue: 1}
	m.WatchWriter(func() WriterStats { return stats })
	check(true, false)
	stats.LastSaved = time.Unix(1764000000, 0)
	check(true, true)
}
