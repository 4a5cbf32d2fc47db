//go:build e2e && linux

package test

import (
	"fmt"
	"testing"
	"time"

	"raytap/test/realray"
)

// A job is a submitted printer.
type job struct {
	printer
	id string
}

// submitAll submits the printers and returns their jobs.
func submitAll(t *testing.T, head *realray.Head, printers []printer) []job {
	t.Helper()
	ctx := within(t, time.Minute)
	var runs []job
	for _, p := range printers {
		runs = append(runs, job{p, p.submit(ctx, t, head.Client)})
	}
	return runs
}

func ids(runs []job) []string {
	var all []string
	for _, r := range runs {
		all = append(all, r.id)
	}
	return all
}

// waitAll waits until every job has ended, and returns their statuses.
func waitAll(t *testing.T, head *realray.Head, limit time.Duration, runs []job) map[string]string {
	t.Helper()
	ctx := within(t, limit)
	status := make(map[string]string)
	for _, r := range runs {
		j, err := head.WaitJob(ctx, r.id, realray.JobInfo.Terminal)
		if err != nil {
			t.Fatal(err)
		}
		status[r.id] = j.Status
	}
	return status
}

// transports are the three transports for logs, each forced by settings.
var transports = []struct {
	name     string
	settings settings
	skip     string // a printer mode that the transport cannot carry
}{
	// Ray ends a WebSocket at a byte that is not UTF-8, every time.
	{"websocket", settings{Protocol: "websocket", Shipper: "exclude: [{job_name: bytes}]"}, "bytes"},
	{"node_agent", settings{Protocol: "http", NodeAgents: "on"}, ""},
	{"file", settings{Protocol: "http", NodeAgents: "off"}, ""},
}

func TestShipper_EveryLineOnce(t *testing.T) {
	t.Parallel()
	head := sharedHead(t)
	printers := []printer{
		{Mode: "lines", Count: 46_000, Seconds: 55, Exit: 3},
		{Mode: "progress", Count: 4_000, Seconds: 50},
		{Mode: "partial", Count: 400, Seconds: 50},
		{Mode: "split", Count: 250, Seconds: 50},
		{Mode: "long", Count: 40, Seconds: 50},
		{Mode: "bytes", Count: 500, Seconds: 40},
	}
	daemons := make([]*daemon, len(transports))
	for i, tr := range transports {
		daemons[i] = startDaemon(t, head, tr.settings)
	}
	runs := submitAll(t, head, printers)
	status := waitAll(t, head, 3*time.Minute, runs)
	if got := status[runs[0].id]; got != "FAILED" {
		t.Errorf("the status of a job with exit code 3 is %s", got)
	}
	for i, tr := range transports {
		var mine []job
		for _, r := range runs {
			if r.Mode != tr.skip {
				mine = append(mine, r)
			}
		}
		daemons[i].waitEnds(t, 90*time.Second, ids(mine)...)
		got, records := daemons[i].shipped(t)
		for _, r := range mine {
			checkRecords(t, tr.name, r.printer, r.id, status[r.id], got[r.id])
		}
		if len(got) != len(mine) {
			t.Errorf("%s: records of %d jobs, want %d", tr.name, len(got), len(mine))
		}
		t.Logf("%-9s: %d records of %d jobs; %s", tr.name, records, len(mine), checkTransport(t, daemons[i], tr.name, got))
		t.Logf("%-9s: stopped in %s", tr.name, daemons[i].stop(t).Round(time.Millisecond))
	}
}

// checkTransport compares the shipper's metrics with the records, and returns a summary.
func checkTransport(t *testing.T, d *daemon, transport string, got recordsByJob) string {
	t.Helper()
	p := d.mustScrape(t)
	lines := 0
	for _, records := range got {
		for _, r := range records {
			if r.Event == "" {
				lines++
			}
		}
	}
	if err := p.want(float64(lines), "raytap_shipper_lines_total"); err != nil {
		t.Errorf("%s: %v", transport, err)
	}
	for _, other := range []string{"node_agent", "websocket", "file"} {
		n, _ := p.sum("raytap_shipper_read_bytes_total", "transport="+other)
		if (n > 0) != (other == transport) {
			t.Errorf("%s: %g bytes read over transport %s", transport, n, other)
		}
	}
	replayed, _ := p.sum("raytap_shipper_replayed_bytes_total")
	ends, _ := p.sum("raytap_shipper_read_ends_total")
	cpu, _ := p.sum("process_cpu_seconds_total")
	rss, _ := p.sum("process_resident_memory_bytes")
	return fmt.Sprintf("%d lines, %.1f MB replayed, %g connections or reads ended, %.1f CPU s, RSS %.0f MB",
		lines, replayed/1e6, ends, cpu, rss/1e6)
}

func TestShipper_StopDuringJob(t *testing.T) {
	t.Parallel()
	head := sharedHead(t)
	d := startDaemon(t, head, settings{})
	runs := submitAll(t, head, []printer{{Mode: "lines", Count: 100_000, Seconds: 100}})
	eventually(t, time.Minute, "a thousand records are shipped", func() error {
		if _, n := d.shipped(t); n < 1000 {
			return fmt.Errorf("%d records", n)
		}
		return d.running()
	})
	t.Logf("stopped in %s", d.stop(t).Round(time.Millisecond))
	got, n := d.shipped(t)
	for i, r := range got[runs[0].id] {
		if i > 0 && (r.Event != "" || *r.Seq != i-1) {
			t.Fatalf("record %d has seq %d and event %q", i, *r.Seq, r.Event)
		}
	}
	t.Logf("%d records before the stop", n)
	if err := head.StopJob(within(t, 10*time.Second), runs[0].id); err != nil {
		t.Error(err)
	}
}
