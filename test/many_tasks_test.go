//go:build e2e && linux

package test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"raytap/test/program"
	"raytap/test/realray"
)

// Ray's State API has one worker for all clients, truncates lists at 10,000 rows, and
// needs seconds for a list of 20,000 tasks.
func TestCollector_ManyTasks(t *testing.T) {
	t.Parallel()
	// It has its own head: the tasks would slow other tests down.
	head := ownHead(t, realray.Options{CPUs: 2})
	ctx := within(t, 5*time.Minute)
	first := runTasks(ctx, t, head, 20_000, 2, 1)

	d := startDaemon(t, head, settings{Sink: filepath.Join(t.TempDir(), "raytap.jsonl")})
	idle := stateHeadCPU(t, head, 10*time.Second, nil)
	// The first scrape requests the tasks; the earliest to request them again is the third.
	scraped := stateHeadCPU(t, head, 30*time.Second, func() { d.mustScrape(t) })
	cost := scraped - idle
	t.Logf("StateHead: %.2f CPU-s per minute without scrapes, %.2f with a scrape every 15 s", idle, scraped)
	if cost >= 0.5 {
		t.Errorf("scrapes cost Ray's State API %.2f CPU-s per minute, want less than 0.5", cost)
	}
	metrics := d.mustScrape(t)
	if err := firstError(
		metrics.want(2, "raytap_tasks", "job_id="+first, "state=FAILED"),
		metrics.want(1, "raytap_tasks", "job_id="+first, "state=PENDING_NODE_ASSIGNMENT"),
		metrics.want(2, "raytap_tasks_by_state", "state=FAILED"),
		metrics.want(0, "raytap_tasks_truncated"),
		metrics.want(0, "raytap_tasks_queried_by_state"),
		checkCollectors(metrics),
	); err != nil {
		t.Error(err)
	}
	runTasks(ctx, t, head, 0, 15_000, 0)
	d = startDaemon(t, head, settings{Sink: filepath.Join(t.TempDir(), "raytap.jsonl")}) // without a cached task list
	eventually(t, time.Minute, "the totals of a cut list are exact and marked as slow", func() error {
		metrics := d.mustScrape(t)
		return firstError(
			metrics.want(15_002, "raytap_tasks_by_state", "state=FAILED"),
			metrics.want(1, "raytap_tasks_by_state", "state=PENDING_NODE_ASSIGNMENT"),
			metrics.want(0, "raytap_tasks_by_state", "state=RUNNING"),
			metrics.want(1, "raytap_tasks_truncated"),
			metrics.want(1, "raytap_tasks_queried_by_state"),
			checkCollectors(metrics),
		)
	})
}

// runTasks runs a job with tasks that finish, fail or wait. It returns the job ID when the
// State API has all of them.
func runTasks(ctx context.Context, t *testing.T, head *realray.Head, finish, fail, wait int) string {
	t.Helper()
	began := time.Now()
	dir, err := filepath.Abs("jobs")
	if err != nil {
		t.Fatal(err)
	}
	id, err := head.Submit(ctx, realray.Submission{
		Entrypoint: fmt.Sprintf("cd '%s' && exec python3 tasks.py %d %d %d", dir, finish, fail, wait),
	})
	if err != nil {
		t.Fatal(err)
	}
	job, err := head.WaitJob(ctx, id, func(j realray.JobInfo) bool { return j.JobID != "" })
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(head.LogDir(), "job-driver-"+id+".log")
	eventually(t, 3*time.Minute, "the State API has all tasks of the job", func() error {
		text, err := os.ReadFile(log)
		if err != nil || !bytes.HasSuffix(text, []byte("done\n")) {
			return fmt.Errorf("the job is not done: %v: %s", err, program.Last(string(text), 200))
		}
		return firstError(
			checkTaskCount(ctx, head, job.JobID, "FAILED", fail),
			checkTaskCount(ctx, head, job.JobID, "PENDING_NODE_ASSIGNMENT", wait),
			checkTaskCount(ctx, head, job.JobID, "RUNNING", 0),
		)
	})
	t.Logf("%d tasks finished, %d failed in %.0f s", finish, fail, time.Since(began).Seconds())
	return job.JobID
}

// checkTaskCount returns an error unless the State API counts this many tasks of a job in
// a state.
func checkTaskCount(ctx context.Context, head *realray.Head, job, state string, want int) error {
	query := url.Values{
		"limit": {"1"}, "filter_keys": {"job_id", "state"}, "filter_predicates": {"=", "="}, "filter_values": {job, state},
	}
	var res struct {
		Data struct{ Result struct{ Total int } }
	}
	if err := head.Do(ctx, http.MethodGet, "/api/v0/tasks?"+query.Encode(), nil, &res); err != nil {
		return err
	}
	if got := res.Data.Result.Total; got != want {
		return fmt.Errorf("the State API counts %d tasks %s, want %d", got, state, want)
	}
	return nil
}

// stateHeadCPU returns the CPU-seconds per minute of Ray's State API over a period. It
// calls scrape every 15 s, unless it is nil.
func stateHeadCPU(t *testing.T, head *realray.Head, over time.Duration, scrape func()) float64 {
	t.Helper()
	before, err := head.ModuleCPU("StateHead")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	end := time.After(over)
	tick := time.NewTicker(15 * time.Second)
	defer tick.Stop()
	for waiting := true; waiting; {
		if scrape != nil {
			scrape()
		}
		select {
		case <-tick.C:
		case <-end:
			waiting = false
		}
	}
	after, err := head.ModuleCPU("StateHead")
	if err != nil {
		t.Fatal(err)
	}
	return (after - before).Seconds() * 60 / time.Since(begin).Seconds()
}
