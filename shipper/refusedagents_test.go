package shipper

import (
	"maps"
	"net/netip"
	"testing"
	"time"

	"raytap/shipper/metrics"
	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"github.com/prometheus/client_golang/prometheus"

	"raytap/ray/dashboard"
	"raytap/ray/raytest"
	"raytap/ray/transport"
)

// refusedAgents returns the values of raytap_node_agents_refused by reason.
func refusedAgents(t *testing.T, m *metrics.Metrics) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(m); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "raytap_node_agents_refused" {
			continue
		}
		for _, s := range f.GetMetric() {
			for _, l := range s.GetLabel() {
				if l.GetName() == "reason" {
					got[l.GetValue()] = s.GetGauge().GetValue()
				}
			}
		}
	}
	return got
}

// Agents that logs are not read from are counted by reason, each once for all its jobs.
// Agents that may be used are not counted. The head's agent is used,
// too, to read what Ray wrote there about a job that ran elsewhere.
func TestTransport_RefusedAgentsByReason(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef0123456789abcdef"
	there, elsewhere := netip.MustParsePrefix("127.0.0.2/32"), netip.MustParsePrefix("10.0.0.0/8")
	for name, row := range map[string]struct {
		token  string
		agents dashboard.NodeAgents
		want   map[string]float64
	}{
		"a token, nothing allowed": {token, dashboard.NodeAgents{}, map[string]float64{"token": 1}},
		"a token, allowed":         {token, dashboard.NodeAgents{Allow: []netip.Prefix{there}}, map[string]float64{}},
		"another network, on":      {"", dashboard.NodeAgents{Mode: dashboard.NodeAgentsOn, Allow: []netip.Prefix{elsewhere}}, map[string]float64{"not_allowed": 2}},
		"off":                      {"", dashboard.NodeAgents{Mode: dashboard.NodeAgentsOff}, map[string]float64{"off": 2}},
		"no token":                 {"", dashboard.NodeAgents{}, map[string]float64{}},
	} {
		t.Run(name, func(t *testing.T) {
			head := raytest.New(t, raytest.Token(row.token))
			node, err := head.AddNode("127.0.0.2")
			if err != nil {
				t.Fatal(err)
			}
			o := transport.Options{URL: head.URL(), Timeout: time.Second}
			if row.token != "" {
				o.Scheme, o.Token = "Bearer ", transport.StaticToken(row.token)
			}
			tr, err := transport.New(o)
			if err != nil {
				t.Fatal(err)
			}
			c, err := dashboard.New(tr, dashboard.Options{NodeAgents: row.agents})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			r := newHarnessFor(t, func(out *writer.Writer, o Options) *Shipper { return New(uncached{c}, c, out, o) }, fastOptions(tail.ProtocolAuto), writer.Options{}, "")
			r.head = head
			for _, id := range []string{"job-1", "job-2"} {
				job := head.Submit(id, raytest.JobOptions{Node: node})
				job.Print("a line\n")
				job.End("SUCCEEDED", 0)
				r.waitEnd(id)
			}
			if got := refusedAgents(t, r.metrics); !maps.Equal(got, row.want) {
				t.Errorf("refused agents: %v, want %v", got, row.want)
			}
			r.stop()
			if got := refusedAgents(t, r.metrics); len(got) > 0 {
				t.Errorf("refused agents after the end: %v", got)
			}
		})
	}
}
