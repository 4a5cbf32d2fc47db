//go:build e2e && linux

package test

import (
	"fmt"
	"testing"
	"time"
)

// Nobody but this test restarts the dashboard: Ray does not.
func TestShipper_DashboardKilled(t *testing.T) {
	head := sharedHead(t)
	daemons := make([]*daemon, len(ways))
	for i, way := range ways {
		daemons[i] = startDaemon(t, head, way.settings)
	}
	jobs := submitAll(t, head, []printer{
		{Mode: "lines", Count: 20_000, Seconds: 50},
		{Mode: "progress", Count: 1_000, Seconds: 45},
		{Mode: "halves", Count: 300, Seconds: 45},
	})
	for i := range ways {
		eventually(t, time.Minute, "lines of every job came out", func() error {
			got, _ := daemons[i].shipped(t)
			for _, j := range jobs {
				if len(got[j.id]) < 20 {
					return fmt.Errorf("%s: %d records of job %s", ways[i].name, len(got[j.id]), j.name())
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
	for i, way := range ways {
		eventually(t, 30*time.Second, "up is 0 while the dashboard is dead", func() error {
			p := daemons[i].mustPage(t)
			if _, ok := p.sum("raytap_jobs"); ok {
				return fmt.Errorf("%s: jobs are still shown", way.name)
			}
			return p.want(0, "raytap_up", "ray_cluster=e2e")
		})
	}
	if err := head.StartDashboard(within(t, time.Minute), dashboard); err != nil {
		t.Fatal(err)
	}
	t.Logf("the dashboard was dead for %s", time.Since(killed).Round(100*time.Millisecond))

	status := waitAll(t, head, 2*time.Minute, jobs)
	for i, way := range ways {
		daemons[i].waitEnds(t, 2*time.Minute, ids(jobs)...)
		got, records := daemons[i].shipped(t)
		for _, j := range jobs {
			checkStream(t, way.name, j.printer, j.id, status[j.id], got[j.id])
		}
		eventually(t, 20*time.Second, "up is 1 again", func() error {
			return daemons[i].mustPage(t).want(1, "raytap_up", "ray_cluster=e2e")
		})
		t.Logf("%-9s: %d records; %s", way.name, records, checkWay(t, daemons[i], way.name, got))
		daemons[i].stop(t)
	}
}
