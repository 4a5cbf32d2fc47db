//go:build e2e && linux

package test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"raytap/ray/synapsetest"
	"raytap/test/realray"
)

// sceneCPUs is how many CPUs the head of a scene claims to have; its other node
// has one.
const sceneCPUs = 4

// scene is a real Ray of two nodes in which things break, and who watches it.
type scene struct {
	head       *realray.Head
	node       *realray.Node
	proxy      *socketCounter // between raytap and the head; nil without one
	raytap     settings
	daemon     *daemon
	prometheus prometheus
}

type sceneOptions struct {
	interval string // of scrapes and of the rules
	proxied  bool   // logs come over WebSockets, through a proxy that can cut them
	agent    bool   // raytap watches an agent, too
}

func startScene(t *testing.T, o sceneOptions) *scene {
	t.Helper()
	// A GPU that is not there is one for Ray's books.
	head, err := startHead(realray.Options{CPUs: sceneCPUs, GPUs: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			head.WriteLogs(t.Output())
		}
		if err := head.Stop(); err != nil {
			t.Error(err)
		}
	})
	s := &scene{head: head, raytap: settings{Sink: filepath.Join(t.TempDir(), "raytap.jsonl"), Listen: freeAddress(t)}}
	if s.node, err = head.AddNode(within(t, 2*time.Minute), "127.0.0.3", 1); err != nil {
		t.Fatal(err)
	}
	if o.proxied {
		s.proxy = newSocketCounter(t, head.URL)
		s.raytap.NodeAgents = "off"
	}
	if o.agent {
		agent := synapsetest.New(t)
		agent.SetResponse(synapsetest.EndpointServe, []byte("[]")) // none that are unwell
		s.raytap.Clusters = fmt.Sprintf("  - {name: agent, api: synapse, url: %q}\n", agent.URL())
	}
	s.startRaytap(t)
	s.prometheus = startPrometheus(t, s.daemon, o.interval)
	return s
}

func (s *scene) startRaytap(t *testing.T) {
	t.Helper()
	head := *s.head
	if s.proxy != nil {
		head.Client = &realray.Client{URL: s.proxy.URL}
	}
	s.daemon = startDaemon(t, &head, s.raytap)
}

// breakThings kills the second node, and breaks the connections by which raytap
// reads logs.
func (s *scene) breakThings(t *testing.T) {
	t.Helper()
	if err := s.node.Kill(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	if s.proxy == nil {
		return
	}
	eventually(t, time.Minute, "raytap reads over WebSockets", func() error {
		if s.proxy.cut() == 0 {
			return fmt.Errorf("none is open")
		}
		return nil
	})
}

// restart kills raytap with SIGKILL, and starts it again once Prometheus has
// missed it. It returns when the rules have been evaluated on what the new one says.
func (s *scene) restart(t *testing.T) {
	t.Helper()
	s.daemon.Kill()
	s.prometheus.until(t, time.Minute, "a scrape has failed", `up{job="raytap"} == 0`)
	s.startRaytap(t)
	s.prometheus.until(t, time.Minute, "five scrapes in a row have succeeded, and brought the cluster", fmt.Sprintf(
		`min_over_time(up{job="raytap"}[%[1]s]) == 1 and on (instance) count_over_time(raytap_up{ray_cluster="e2e"}[%[1]s]) >= 5`,
		s.prometheus.times(6)))
}

// alertState is what Prometheus says of its rules.
type alertState struct {
	rules  int
	firing map[string]string // when each alert began, by its name and what it is about
}

// alerts tells which alerts fire. It is an error if a rule cannot be evaluated.
func (p prometheus) alerts(t *testing.T) (alertState, error) {
	t.Helper()
	var answer struct {
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
	if err := p.ask(t, "/api/v1/rules", &answer); err != nil {
		return s, err
	}
	for _, group := range answer.Data.Groups {
		for _, rule := range group.Rules {
			s.rules++
			if rule.Health != "ok" || rule.LastError != "" {
				return s, fmt.Errorf("rule %s is %s: %s", rule.Name, rule.Health, rule.LastError)
			}
			for _, a := range rule.Alerts {
				if a.State == "firing" {
					s.firing[called(a.Labels)] = a.ActiveAt
				}
			}
		}
	}
	if s.rules == 0 {
		return s, fmt.Errorf("Prometheus has no rules")
	}
	return s, nil
}

// called is how this test calls an alert: by its name and what it is about.
func called(labels map[string]string) string {
	for _, about := range []string{"submission_id", "node_ip"} {
		if v := labels[about]; v != "" {
			return labels["alertname"] + " " + v
		}
	}
	return fmt.Sprint(labels["alertname"], " ", labels)
}

// waitFiring returns when these alerts fire, and no other one, and says when each
// began.
func (p prometheus) waitFiring(t *testing.T, limit time.Duration, want ...string) map[string]string {
	t.Helper()
	slices.Sort(want)
	var last alertState
	eventually(t, limit, fmt.Sprintf("%q fire, and nothing else", want), func() (err error) {
		if last, err = p.alerts(t); err != nil {
			return err
		}
		if got := slices.Sorted(maps.Keys(last.firing)); !slices.Equal(got, want) {
			return fmt.Errorf("these fire: %q", got)
		}
		return nil
	})
	t.Logf("of %d rules these fire, and nothing else: %v", last.rules, last.firing)
	return last.firing
}

// checkUndisturbed fails the test if one of the alerts has ended, or begun anew,
// since they began as is told, or if another one has fired meanwhile.
func (p prometheus) checkUndisturbed(t *testing.T, began map[string]string) {
	t.Helper()
	now, err := p.alerts(t)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(now.firing, began) {
		t.Errorf("these alerts fired, each since its time: %v; and after a restart of raytap: %v", began, now.firing)
	}
	if got, want := p.everFired(t), slices.Sorted(maps.Keys(began)); !slices.Equal(got, want) {
		t.Errorf("these alerts have fired: %q, want %q", got, want)
	}
}

// everFired gives the alerts that have fired at any time. What ended and began
// anew is there twice.
func (p prometheus) everFired(t *testing.T) (all []string) {
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
		all = append(all, slices.Repeat([]string{called(s.Metric)}, times)...)
	}
	slices.Sort(all)
	return all
}
