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

var resolve = flag.Bool("resolve", false, "also wait until alerts end by themselves (a quarter of an hour)")

// The alerts about an end and a death last ten minutes from it: so say the rules,
// and docs/runbooks.md. Everything is as shipped, but that Prometheus scrapes and
// evaluates more often than once a minute.
func TestAlerts_Resolve(t *testing.T) {
	if !*resolve {
		t.Skip("it takes a quarter of an hour: `make alerts` runs it")
	}
	const usual = 10 * time.Minute
	s := startScene(t, sceneOptions{interval: "5s"})
	p := s.prometheus
	began := time.Now()
	told := func(what string, args ...any) {
		t.Logf("%s +%4.0f s: %s", time.Now().UTC().Format(time.TimeOnly), time.Since(began).Seconds(), fmt.Sprintf(what, args...))
	}
	told("Ray runs, with %s beside the head; raytap and Prometheus watch it", s.node.IP)
	jobs := submitAll(t, s.head, []printer{
		{Mode: "lines", Count: 1000, Seconds: 3000, Name: "running"},
		{Mode: "lines", Count: 10, Seconds: 1, Name: "failed", Exit: 3},
	})
	waitAll(t, s.head, time.Minute, jobs[1:])
	eventually(t, time.Minute, "both nodes are seen", func() error {
		return s.daemon.mustPage(t).want(2, "raytap_nodes", "state=ALIVE")
	})
	s.breakThings(t)
	told("job %s has failed, the raylet of %s is killed", jobs[1].id, s.node.IP)
	alerts := []string{"RayJobFailed " + jobs[1].id, "RayNodeLost " + s.node.IP}
	firing := p.waitFiring(t, 3*time.Minute, alerts...)
	told("both alerts fire, since %v", firing)

	p.check(t, (5*time.Minute).Seconds()/5)
	for _, q := range panelQueries(t) {
		if _, err := p.series(t, q.expr); err != nil {
			t.Errorf("%s: %v", q.id, err)
		}
	}
	told("five minutes of scrapes, none failed; every query of the panels can be asked")
	s.restart(t)
	p.checkUndisturbed(t, firing)
	told("raytap was killed and started again; both alerts fire on as if nothing had been")

	eventually(t, usual+time.Minute, "both alerts end", func() error {
		now, err := p.alerts(t)
		if err == nil && len(now.firing) > 0 {
			err = fmt.Errorf("these fire: %v", now.firing)
		}
		return err
	})
	told("no alert fires")
	p.checkLasted(t, "RayJobFailed", "raytap_job_end_timestamp_seconds and on (submission_id) raytap_job_status{status=\"FAILED\"} == 1", usual)
	p.checkLasted(t, "RayNodeLost", "raytap_node_end_timestamp_seconds", usual)

	quiet := 3 * time.Minute
	p.until(t, quiet+time.Minute, "Prometheus has evaluated the rules for three minutes more",
		fmt.Sprintf(`timestamp(up{job="raytap"}) > %d`, time.Now().Add(quiet).Unix()))
	if got, want := p.everFired(t), slices.Sorted(maps.Keys(firing)); !slices.Equal(got, want) {
		t.Errorf("these alerts have fired: %q, want each once: %q", got, want)
	}
	if up, err := p.query(t, fmt.Sprintf(`min_over_time(up{job="raytap"}[%dm])`, int(quiet.Minutes()))); err != nil || up != 1 {
		t.Errorf("a scrape of the last three minutes failed: %g, %v", up, err)
	}
	told("three minutes later: each alert has fired once, and nothing else ever has")
}

// checkLasted fails the test if an alert was not there until a while after the
// moment that a query gives, as Prometheus recorded both.
func (p prometheus) checkLasted(t *testing.T, alert, since string, want time.Duration) {
	t.Helper()
	lasted, err := p.query(t, fmt.Sprintf(
		`max(max_over_time(timestamp(ALERTS{alertname=%q, alertstate="firing"})[20m:1s])) - max(%s)`, alert, since))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s was recorded for the last time %s s after its cause", alert, strconv.FormatFloat(lasted, 'f', 1, 64))
	interval, err := time.ParseDuration(p.interval)
	if err != nil {
		t.Fatal(err)
	}
	// The last evaluation within the ten minutes is up to an interval before their end.
	if early := want - 3*interval; lasted < early.Seconds() || lasted > want.Seconds() {
		t.Errorf("%s was there until %.1f s after its cause, want %s", alert, lasted, want)
	}
}
