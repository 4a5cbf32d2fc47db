//go:build e2e && linux

package test

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"raytap/ray/synapsetest"
	"raytap/test/realray"
)

// headCPUs is the number of CPUs of the head of a testCluster. The other node has one.
const headCPUs = 4

// testCluster is a real Ray of two nodes, in which faults are injected, with raytap and
// Prometheus.
type testCluster struct {
	head       *realray.Head
	node       *realray.Node
	proxy      *webSocketProxy // between raytap and the head; nil without one
	settings   settings
	daemon     *daemon
	prometheus prometheus
}

type clusterOptions struct {
	interval string // of scrapes and of rule evaluation
	proxied  bool   // raytap reads logs over WebSockets, through a proxy that can cut them
	synapse  bool   // raytap also reads a fake Synapse agent
}

func startTestCluster(t *testing.T, o clusterOptions) *testCluster {
	t.Helper()
	// Ray schedules a GPU that does not exist.
	head := ownHead(t, realray.Options{CPUs: headCPUs, GPUs: 1})
	s := &testCluster{head: head, settings: settings{Sink: filepath.Join(t.TempDir(), "raytap.jsonl"), Listen: freeAddress(t)}}
	var err error
	if s.node, err = head.AddNode(within(t, 2*time.Minute), "127.0.0.3", 1); err != nil {
		t.Fatal(err)
	}
	if o.proxied {
		s.proxy = newWebSocketProxy(t, head.URL)
		s.settings.NodeAgents = "off"
	}
	if o.synapse {
		agent := synapsetest.New(t)
		agent.SetResponse(synapsetest.EndpointServe, []byte("[]")) // no unhealthy applications
		s.settings.Clusters = fmt.Sprintf("  - {name: agent, api: synapse, url: %q}\n", agent.URL())
	}
	s.startRaytap(t)
	s.prometheus = startPrometheus(t, s.daemon, o.interval)
	return s
}

func (s *testCluster) startRaytap(t *testing.T) {
	t.Helper()
	head := *s.head
	if s.proxy != nil {
		head.Client = &realray.Client{URL: s.proxy.URL}
	}
	s.daemon = startDaemon(t, &head, s.settings)
}

// injectFaults kills the second node and cuts the WebSockets of raytap.
func (s *testCluster) injectFaults(t *testing.T) {
	t.Helper()
	if err := s.node.Kill(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	if s.proxy == nil {
		return
	}
	eventually(t, time.Minute, "raytap reads over WebSockets", func() error {
		if s.proxy.cut() == 0 {
			return errors.New("no WebSocket is open")
		}
		return nil
	})
}

// restart kills raytap with SIGKILL, and starts it again after a failed scrape. It
// returns when the rules have been evaluated on the metrics of the new process.
func (s *testCluster) restart(t *testing.T) {
	t.Helper()
	s.daemon.Kill()
	s.prometheus.waitFor(t, time.Minute, "a scrape has failed", `up{job="raytap"} == 0`)
	s.startRaytap(t)
	s.prometheus.waitFor(t, time.Minute, "five scrapes in a row have succeeded, with the cluster", fmt.Sprintf(
		`min_over_time(up{job="raytap"}[%[1]s]) == 1 and on (instance) count_over_time(raytap_up{ray_cluster="e2e"}[%[1]s]) >= 5`,
		s.prometheus.intervals(6)))
}

// alertState is the state of Prometheus's rules.
type alertState struct {
	rules  int
	firing map[string]string // start times by alertName
}

// alerts returns the firing alerts. A rule that cannot be evaluated is an error.
func (p prometheus) alerts(t *testing.T) (alertState, error) {
	t.Helper()
	var res struct {
		Data struct {
			Groups []struct {
				Rules []struct {
					Name, Health, LastError string
					Alerts                  []struct {
						State, ActiveAt string
						Labels          map[string]string
					}
				}
			}
		}
	}
	s := alertState{firing: map[string]string{}}
	if err := p.get(t, "/api/v1/rules", &res); err != nil {
		return s, err
	}
	for _, group := range res.Data.Groups {
		for _, rule := range group.Rules {
			s.rules++
			if rule.Health != "ok" || rule.LastError != "" {
				return s, fmt.Errorf("rule %s is %s: %s", rule.Name, rule.Health, rule.LastError)
			}
			for _, a := range rule.Alerts {
				if a.State == "firing" {
					s.firing[alertName(a.Labels)] = a.ActiveAt
				}
			}
		}
	}
	if s.rules == 0 {
		return s, errors.New("Prometheus has no rules")
	}
	return s, nil
}

// alertName returns the name of an alert and the ID of its job or node.
func alertName(labels map[string]string) string {
	for _, label := range []string{"submission_id", "node_ip"} {
		if v := labels[label]; v != "" {
			return labels["alertname"] + " " + v
		}
	}
	return fmt.Sprint(labels["alertname"], " ", labels)
}

// waitFiring waits until exactly these alerts fire. It returns their start times.
func (p prometheus) waitFiring(t *testing.T, limit time.Duration, want ...string) map[string]string {
	t.Helper()
	slices.Sort(want)
	var last alertState
	eventually(t, limit, fmt.Sprintf("exactly these alerts fire: %q", want), func() (err error) {
		if last, err = p.alerts(t); err != nil {
			return err
		}
		if got := slices.Sorted(maps.Keys(last.firing)); !slices.Equal(got, want) {
			return fmt.Errorf("firing alerts: %q", got)
		}
		return nil
	})
	t.Logf("%d rules; firing alerts: %v", last.rules, last.firing)
	return last.firing
}

// checkSameAlerts fails the test if one of the alerts has ended or started again, or if
// another one has fired.
func (p prometheus) checkSameAlerts(t *testing.T, began map[string]string) {
	t.Helper()
	now, err := p.alerts(t)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(now.firing, began) {
		t.Errorf("firing alerts after a restart of raytap: %v, want %v", now.firing, began)
	}
	if got, want := p.firedAlerts(t), slices.Sorted(maps.Keys(began)); !slices.Equal(got, want) {
		t.Errorf("alerts that have fired: %q, want %q", got, want)
	}
}

// firedAlerts returns the alerts that have fired at any time. An alert that ended and
// started again is there twice.
func (p prometheus) firedAlerts(t *testing.T) (all []string) {
	t.Helper()
	series, err := p.series(t, `1 + changes(ALERTS_FOR_STATE[1h]) and on (alertname, ray_cluster, submission_id, node_id) last_over_time(ALERTS{alertstate="firing"}[1h])`)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range series {
		times := 1
		if _, err := fmt.Sscan(fmt.Sprint(s.Value[1]), &times); err != nil {
			t.Fatal(err)
		}
		all = append(all, slices.Repeat([]string{alertName(s.Metric)}, times)...)
	}
	slices.Sort(all)
	return all
}
