//go:build e2e && linux

package test

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"
)

var resolve = flag.Bool("resolve", false, "also wait until alerts resolve by themselves (15 minutes)")

// The alerts about the end of a job and the loss of a node last ten minutes, according to
// the rules and docs/runbooks.md. The rules are the shipped ones, but Prometheus scrapes
// and evaluates more often than once a minute.
func TestAlerts_Resolve(t *testing.T) {
	if !*resolve {
		t.Skip("takes 15 minutes: run `make alerts`")
	}
	const alertDuration = 10 * time.Minute
	s := startTestCluster(t, clusterOptions{interval: "5s"})
	p := s.prometheus
	began := time.Now()
	logTime := func(what string, args ...any) {
		t.Logf("%s +%4.0f s: %s", time.Now().UTC().Format(time.TimeOnly), time.Since(began).Seconds(), fmt.Sprintf(what, args...))
	}
	logTime("Ray is running with a second node %s; raytap and Prometheus are running", s.node.IP)
	jobs := submitAll(t, s.head, []printer{
		{Mode: "lines", Count: 1000, Seconds: 3000, Name: "running"},
		{Mode: "lines", Count: 10, Seconds: 1, Name: "failed", Exit: 3},
	})
	waitAll(t, s.head, time.Minute, jobs[1:])
	eventually(t, time.Minute, "both nodes are in the metrics", func() error {
		return s.daemon.mustScrape(t).want(2, "raytap_nodes", "state=ALIVE")
	})
	s.injectFaults(t)
	logTime("job %s has failed; the raylet of %s is killed", jobs[1].id, s.node.IP)
	alerts := []string{"RayJobFailed " + jobs[1].id, "RayNodeLost " + s.node.IP}
	firing := p.waitFiring(t, 3*time.Minute, alerts...)
	logTime("both alerts fire, since %v", firing)

	p.check(t, (5*time.Minute).Seconds()/5)
	for _, q := range panelQueries(t) {
		if _, err := p.series(t, q.expr); err != nil {
			t.Errorf("%s: %v", q.id, err)
		}
	}
	logTime("no scrape failed in five minutes; every query of the dashboards is valid")
	s.restart(t)
	p.checkSameAlerts(t, firing)
	logTime("raytap was killed and started again; both alerts still fire")

	eventually(t, alertDuration+time.Minute, "both alerts resolve", func() error {
		now, err := p.alerts(t)
		if err == nil && len(now.firing) > 0 {
			err = fmt.Errorf("firing alerts: %v", now.firing)
		}
		return err
	})
	logTime("no alert fires")
	p.checkDuration(t, "RayJobFailed", "raytap_job_end_timestamp_seconds and on (submission_id) raytap_job_status{status=\"FAILED\"} == 1", alertDuration)
	p.checkDuration(t, "RayNodeLost", "raytap_node_end_timestamp_seconds", alertDuration)

	quiet := 3 * time.Minute
	p.waitFor(t, quiet+time.Minute, "Prometheus has evaluated the rules for three more minutes",
		fmt.Sprintf(`timestamp(up{job="raytap"}) > %d`, time.Now().Add(quiet).Unix()))
	if got, want := p.firedAlerts(t), slices.Sorted(maps.Keys(firing)); !slices.Equal(got, want) {
		t.Errorf("alerts that have fired: %q, want each once: %q", got, want)
	}
	if up, err := p.query(t, fmt.Sprintf(`min_over_time(up{job="raytap"}[%dm])`, int(quiet.Minutes()))); err != nil || up != 1 {
		t.Errorf("a scrape in the last three minutes failed: %g, %v", up, err)
	}
	logTime("three minutes later: each alert has fired once, and no other one")
}

// checkDuration fails the test unless an alert fired until the given duration after the
// time that a query returns, as recorded by Prometheus.
func (p prometheus) checkDuration(t *testing.T, alert, since string, want time.Duration) {
	t.Helper()
	lasted, err := p.query(t, fmt.Sprintf(
		`max(max_over_time(timestamp(ALERTS{alertname=%q, alertstate="firing"})[20m:1s])) - max(%s)`, alert, since))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s fired until %s s after its cause", alert, strconv.FormatFloat(lasted, 'f', 1, 64))
	interval, err := time.ParseDuration(p.interval)
	if err != nil {
		t.Fatal(err)
	}
	// The last evaluation within the ten minutes is up to an interval before their end.
	if early := want - 3*interval; lasted < early.Seconds() || lasted > want.Seconds() {
		t.Errorf("%s fired until %.1f s after its cause, want %s", alert, lasted, want)
	}
}
