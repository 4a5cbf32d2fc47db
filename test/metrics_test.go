//go:build e2e && linux

package test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/test/program"
	"raytap/test/realray"
)

// One slow setup checks three things: the metrics agree with Ray, each panel shows
// data, and each fault triggers its alert and no other one.
func TestMetrics_RayWithFaults(t *testing.T) {
	t.Parallel() // it has its own head
	s := startTestCluster(t, clusterOptions{interval: "2s", proxied: true, synapse: true})
	ctx := within(t, 5*time.Minute)
	if err := s.head.DeployServe(ctx, freePort(t), "greeter", "greeter:app"); err != nil {
		t.Fatal(err)
	}
	jobs := submitAll(t, s.head, []printer{
		{Mode: "lines", Count: 1000, Seconds: 1000, Name: "running"},
		{Mode: "lines", Count: 10, Seconds: 1, Name: "done"},
		{Mode: "lines", Count: 10, Seconds: 1, Name: "failed", Exit: 3},
	})
	tasks := submitScript(ctx, t, s.head, "tasks.py 1000", realray.Submission{GPUs: 1})
	pending := submitScript(ctx, t, s.head, "chatty.py", realray.Submission{CPUs: 1000})
	waitAll(t, s.head, time.Minute, jobs[1:])
	driver, err := s.head.WaitJob(ctx, tasks, func(j realray.JobInfo) bool { return j.JobID != "" })
	if err != nil {
		t.Fatal(err)
	}

	// The task list, the slowest one, is requested every 30 s.
	eventually(t, 90*time.Second, "the metrics agree with the API", func() error {
		metrics, err := s.daemon.scrape(t)
		if err != nil {
			return err
		}
		return firstError(
			compareJobs(ctx, s.head, metrics),
			metrics.want(1, "raytap_job_status", "submission_id="+jobs[0].id, "status=RUNNING"),
			metrics.want(1, "raytap_job_status", "submission_id="+jobs[1].id, "status=SUCCEEDED"),
			metrics.want(1, "raytap_job_status", "submission_id="+jobs[2].id, "status=FAILED"),
			metrics.want(3, "raytap_job_driver_exit_code", "submission_id="+jobs[2].id),
			metrics.want(1, "raytap_job_status", "submission_id="+pending, "status=PENDING"),
			metrics.want(2, "raytap_nodes", "ray_cluster=e2e", "state=ALIVE"),
			metrics.want(headCPUs+1, "raytap_cluster_resources", "ray_cluster=e2e", "resource=CPU"),
			metrics.want(1, "raytap_cluster_resources_used", "ray_cluster=e2e", "resource=GPU"),
			compareTasks(ctx, s.head, metrics, driver.JobID),
			compareServe(ctx, s.head, metrics),
			checkCollectors(metrics),
		)
	})
	failed := checkFailureIsShown(t, s.head, s.daemon)
	promtoolCheck(t, s.daemon)
	checkOpenMetrics(t, s.daemon.url+"/metrics")
	checkReference(t, s.daemon.mustScrape(t))
	s.prometheus.check(t, 10)

	s.injectFaults(t)
	s.prometheus.checkDashboards(t)
	alerts := []string{"RayJobFailed " + jobs[2].id, "RayJobFailed " + failed, "RayNodeLost " + s.node.IP}
	began := s.prometheus.waitFiring(t, time.Minute, alerts...)
	s.restart(t)
	s.prometheus.checkSameAlerts(t, began)
}

// submitScript submits a script of the demo and returns the submission ID.
func submitScript(ctx context.Context, t *testing.T, head *realray.Head, script string, s realray.Submission) string {
	t.Helper()
	dir, err := filepath.Abs("../deploy/demo")
	if err != nil {
		t.Fatal(err)
	}
	s.Entrypoint = fmt.Sprintf("cd '%s' && exec python3 %s", dir, script)
	id, err := head.Submit(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func compareJobs(ctx context.Context, head *realray.Head, metrics metrics) error {
	jobs, err := head.Jobs(ctx)
	if err != nil {
		return err
	}
	counts := map[[2]string]float64{}
	for _, j := range jobs {
		if j.Type == "DRIVER" && j.Terminal() {
			j.Status = "ENDED" // Ray always has SUCCEEDED
		}
		counts[[2]string{j.Type, j.Status}]++
	}
	for _, status := range []string{"PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"} {
		err := metrics.want(counts[[2]string{"SUBMISSION", status}], "raytap_jobs", "ray_cluster=e2e", "type=SUBMISSION", "status="+status)
		if err != nil {
			return err
		}
	}
	return nil
}

func compareTasks(ctx context.Context, head *realray.Head, metrics metrics, job string) error {
	var res struct {
		Data struct {
			Result struct {
				Result []struct{ State string }
			}
		}
	}
	query := url.Values{"limit": {"10000"}, "filter_keys": {"job_id"}, "filter_predicates": {"="}, "filter_values": {job}}
	if err := head.Do(ctx, http.MethodGet, "/api/v0/tasks?"+query.Encode(), nil, &res); err != nil {
		return err
	}
	counts := map[string]float64{}
	for _, task := range res.Data.Result.Result {
		counts[task.State]++
	}
	if counts["RUNNING"] != 2 || counts["PENDING_NODE_ASSIGNMENT"] != 3 {
		return fmt.Errorf("want 2 tasks RUNNING and 3 PENDING_NODE_ASSIGNMENT in the API: %v", counts)
	}
	for state, n := range counts {
		if err := metrics.want(n, "raytap_tasks", "ray_cluster=e2e", "job_id="+job, "state="+state); err != nil {
			return err
		}
	}
	return nil
}

func compareServe(ctx context.Context, head *realray.Head, metrics metrics) error {
	var res struct {
		Applications map[string]struct {
			Status      string
			Deployments map[string]struct {
				Status   string
				Target   float64 `json:"target_num_replicas"`
				Replicas []struct{ State string }
			}
		}
	}
	if err := head.Do(ctx, http.MethodGet, "/api/serve/applications/", nil, &res); err != nil {
		return err
	}
	app := res.Applications["greeter"]
	deployment := app.Deployments["Greeter"]
	if app.Status != "RUNNING" || deployment.Status != "HEALTHY" || len(deployment.Replicas) != 2 {
		return fmt.Errorf("the application is not running in the API: %+v", app)
	}
	return firstError(
		metrics.want(1, "raytap_serve_application_status", "application=greeter", "status=RUNNING"),
		metrics.want(1, "raytap_serve_deployment_status", "deployment=Greeter", "status=HEALTHY"),
		metrics.want(deployment.Target, "raytap_serve_deployment_target_replicas", "deployment=Greeter"),
		metrics.want(2, "raytap_serve_deployment_replicas", "deployment=Greeter", "state=RUNNING"),
	)
}

func checkCollectors(metrics metrics) error {
	for _, m := range metrics["raytap_collector_success"].GetMetric() {
		if value(m) != 1 {
			return fmt.Errorf("a collector failed: %v", m)
		}
	}
	return metrics.want(1, "raytap_up", "ray_cluster=e2e")
}

// checkFailureIsShown runs a job that fails. The metrics must show the failure with the
// first job list that raytap requests after it; how often raytap requests the list
// depends on how long Ray needs for it.
func checkFailureIsShown(t *testing.T, head *realray.Head, d *daemon) (id string) {
	t.Helper()
	jobs := submitAll(t, head, []printer{{Mode: "lines", Count: 20, Seconds: 3, Exit: 1}})
	waitAll(t, head, time.Minute, jobs)
	start := time.Now()
	lists := func(m metrics) float64 {
		n, _ := m.sum("raytap_api_request_duration_seconds", "ray_cluster=e2e", "endpoint=/api/jobs/")
		return n
	}
	// One list may be in progress, and one may have come since the scrape began.
	maxLists := lists(d.mustScrape(t)) + 2
	if maxLists == 2 {
		t.Fatal("raytap counts no job lists")
	}
	eventually(t, 2*time.Minute, "the job is shown as failed", func() error {
		m := d.mustScrape(t)
		err := m.want(1, "raytap_job_status", "submission_id="+jobs[0].id, "status=FAILED")
		if n := lists(m); err != nil && n > maxLists {
			t.Fatalf("after %g job lists: %v", n-maxLists+2, err)
		}
		return err
	})
	t.Logf("a failed job was in the metrics %.1f s after it was in the API", time.Since(start).Seconds())
	return jobs[0].id
}

func promtoolCheck(t *testing.T, d *daemon) {
	t.Helper()
	body, err := get(t.Context(), d.url+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program.Tool(t, "bin/promtool"), "check", "metrics")
	cmd.Stdin = bytes.NewReader(body)
	if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// checkReference fails the test if a metric or a label is not in docs/metrics.md.
func checkReference(t *testing.T, metrics metrics) {
	t.Helper()
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for name, family := range metrics {
		if !strings.HasPrefix(name, "raytap_") {
			continue
		}
		checked++
		kind := strings.ToLower(family.GetType().String())
		_, section, ok := strings.Cut(string(text), "\n### "+name+"\n\n"+kind+"; ")
		if !ok {
			t.Errorf("docs/metrics.md has no %s %s", kind, name)
			continue
		}
		labels, _, _ := strings.Cut(section, ".")
		for _, label := range family.GetMetric()[0].GetLabel() {
			if !strings.Contains(labels, "`"+label.GetName()+"`") {
				t.Errorf("docs/metrics.md lacks the label %s of %s", label.GetName(), name)
			}
		}
	}
	t.Logf("%d metrics are in docs/metrics.md", checked)
}
