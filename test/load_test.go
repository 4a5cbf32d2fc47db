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

// Ray's State API has one worker for everybody, cuts lists at 10,000 rows, and
// takes seconds for a list of 20,000 tasks.
func TestCollector_ManyTasks(t *testing.T) {
	t.Parallel()
	// Its own head: no other test wants these tasks in its lists.
	head, err := startHead(realray.Options{CPUs: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			head.WriteLogs(t.Output())
		}
		if err := head.Stop(); err != nil {
			t.Error(err)
		}
	}()
	ctx := within(t, 5*time.Minute)
	first := runTasks(ctx, t, head, 20_000, 2, 1)

	d := startDaemon(t, head, settings{Sink: filepath.Join(t.TempDir(), "raytap.jsonl")})
	idle := stateHeadCPU(t, head, 10*time.Second, nil)
	// The first scrape asks for the tasks, and none before the third would again.
	scraped := stateHeadCPU(t, head, 30*time.Second, func() { d.mustPage(t) })
	cost := scraped - idle
	t.Logf("StateHead: %.2f CPU-s a minute without scrapes, %.2f at a scrape each 15 s", idle, scraped)
	if cost >= 0.5 {
		t.Errorf("scrapes cost Ray's State API %.2f CPU-s a minute, want less than 0.5", cost)
	}
	page := d.mustPage(t)
	if err := firstError(
		page.want(2, "raytap_tasks", "job_id="+first, "state=FAILED"),
		page.want(1, "raytap_tasks", "job_id="+first, "state=PENDING_NODE_ASSIGNMENT"),
		page.want(2, "raytap_tasks_by_state", "state=FAILED"),
		page.want(0, "raytap_tasks_truncated"),
		page.want(0, "raytap_tasks_queried_by_state"),
		collectorsSucceed(page),
	); err != nil {
		t.Error(err)
	}
	runTasks(ctx, t, head, 0, 15_000, 0)
	d = startDaemon(t, head, settings{Sink: filepath.Join(t.TempDir(), "raytap.jsonl")}) // with no answer from before
	eventually(t, time.Minute, "the totals of a cut list are exact and marked as slow", func() error {
		page := d.mustPage(t)
		return firstError(
			page.want(15_002, "raytap_tasks_by_state", "state=FAILED"),
			page.want(1, "raytap_tasks_by_state", "state=PENDING_NODE_ASSIGNMENT"),
			page.want(0, "raytap_tasks_by_state", "state=RUNNING"),
			page.want(1, "raytap_tasks_truncated"),
			page.want(1, "raytap_tasks_queried_by_state"),
			collectorsSucceed(page),
		)
	})
}

// runTasks has a job run tasks to their end, and gives its job id once the
// State API knows them all.
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
	eventually(t, 3*time.Minute, "the job's tasks are over and known", func() error {
		text, err := os.ReadFile(log)
		if err != nil || !bytes.HasSuffix(text, []byte("done\n")) {
			return fmt.Errorf("the job is not done: %v: %s", err, program.Last(string(text), 200))
		}
		return firstError(
			tasksOf(ctx, head, job.JobID, "FAILED", fail),
			tasksOf(ctx, head, job.JobID, "PENDING_NODE_ASSIGNMENT", wait),
			tasksOf(ctx, head, job.JobID, "RUNNING", 0),
		)
	})
	t.Logf("%d tasks finished, %d failed in %.0f s", finish, fail, time.Since(began).Seconds())
	return job.JobID
}

// tasksOf is nil if the State API counts so many of a job's tasks in a state.
func tasksOf(ctx context.Context, head *realray.Head, job, state string, want int) error {
	query := url.Values{
		"limit": {"1"}, "filter_keys": {"job_id", "state"}, "filter_predicates": {"=", "="}, "filter_values": {job, state},
	}
	var answer struct {
		Data struct{ Result struct{ Total int } }
	}
	if err := head.Do(ctx, http.MethodGet, "/api/v0/tasks?"+query.Encode(), nil, &answer); err != nil {
		return err
	}
	if got := answer.Data.Result.Total; got != want {
		return fmt.Errorf("the State API counts %d tasks %s, want %d", got, state, want)
	}
	return nil
}

// stateHeadCPU gives the CPU-seconds a minute that Ray's State API uses over a
// while, of which each 15 s begin with scrape.
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
