//go:build e2e && linux

package test

import (
	"fmt"
	"testing"
	"time"

	"raytap/test/realray"
)

// No line is lost or duplicated when the dashboard is killed. Ray does not restart it;
// the test does.
func TestShipper_DashboardKilled(t *testing.T) {
	t.Parallel()
	head := ownHead(t, realray.Options{CPUs: 8})
	daemons := make([]*daemon, len(transports))
	for i, tr := range transports {
		daemons[i] = startDaemon(t, head, tr.settings)
	}
	jobs := submitAll(t, head, []printer{
		{Mode: "lines", Count: 20_000, Seconds: 50},
		{Mode: "progress", Count: 1_000, Seconds: 45},
		{Mode: "partial", Count: 300, Seconds: 45},
	})
	for i := range transports {
		eventually(t, time.Minute, "lines of every job are shipped", func() error {
			got, _ := daemons[i].shipped(t)
			for _, j := range jobs {
				if len(got[j.id]) < 20 {
					return fmt.Errorf("%s: %d records of job %s", transports[i].name, len(got[j.id]), j.name())
				}
			}
			return nil
		})
	}

	killed := time.Now()
	dashboard, err := head.KillDashboard(within(t, 20*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for i, tr := range transports {
		eventually(t, 30*time.Second, "up is 0 while the dashboard is dead", func() error {
			p := daemons[i].mustScrape(t)
			if _, ok := p.sum("raytap_jobs"); ok {
				return fmt.Errorf("%s: raytap_jobs still has series", tr.name)
			}
			return p.want(0, "raytap_up", "ray_cluster=e2e")
		})
	}
	if err := head.StartDashboard(within(t, time.Minute), dashboard); err != nil {
		t.Fatal(err)
	}
	t.Logf("the dashboard was dead for %s", time.Since(killed).Round(100*time.Millisecond))

	status := waitAll(t, head, 2*time.Minute, jobs)
	for i, tr := range transports {
		daemons[i].waitEnds(t, 2*time.Minute, ids(jobs)...)
		got, records := daemons[i].shipped(t)
		for _, j := range jobs {
			checkRecords(t, tr.name, j.printer, j.id, status[j.id], got[j.id])
		}
		eventually(t, 20*time.Second, "up is 1", func() error {
			return daemons[i].mustScrape(t).want(1, "raytap_up", "ray_cluster=e2e")
		})
		t.Logf("%-9s: %d records; %s", tr.name, records, checkTransport(t, daemons[i], tr.name, got))
		daemons[i].stop(t)
	}
}
