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

// One Ray serves three questions, because what each needs takes long to come about:
// does the page agree with Ray, does each panel show something, does each fault
// make its alert and no other one.
func TestMetrics_RayWithFaults(t *testing.T) {
	t.Parallel() // its head is its own
	s := startScene(t, sceneOptions{interval: "2s", proxied: true, agent: true})
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

	// The task list, the slowest, is asked for every 30 s.
	eventually(t, 90*time.Second, "the page agrees with the API", func() error {
		page, err := s.daemon.page(t)
		if err != nil {
			return err
		}
		return firstError(
			agreeOnJobs(ctx, s.head, page),
			page.want(1, "raytap_job_status", "submission_id="+jobs[0].id, "status=RUNNING"),
			page.want(1, "raytap_job_status", "submission_id="+jobs[1].id, "status=SUCCEEDED"),
			page.want(1, "raytap_job_status", "submission_id="+jobs[2].id, "status=FAILED"),
			page.want(3, "raytap_job_driver_exit_code", "submission_id="+jobs[2].id),
			page.want(1, "raytap_job_status", "submission_id="+pending, "status=PENDING"),
			page.want(2, "raytap_nodes", "ray_cluster=e2e", "state=ALIVE"),
			page.want(sceneCPUs+1, "raytap_cluster_resources", "ray_cluster=e2e", "resource=CPU"),
			page.want(1, "raytap_cluster_resources_used", "ray_cluster=e2e", "resource=GPU"),
			agreeOnTasks(ctx, s.head, page, driver.JobID),
			agreeOnServe(ctx, s.head, page),
			collectorsSucceed(page),
		)
	})
	failed := failAndBeShown(t, s.head, s.daemon)
	promtoolCheck(t, s.daemon)
	checkOpenMetrics(t, s.daemon.url+"/metrics")
	checkReference(t, s.daemon.mustPage(t))
	s.prometheus.check(t, 10)

	s.breakThings(t)
	s.prometheus.checkDashboards(t)
	alerts := []string{"RayJobFailed " + jobs[2].id, "RayJobFailed " + failed, "RayNodeLost " + s.node.IP}
	began := s.prometheus.waitFiring(t, time.Minute, alerts...)
	s.restart(t)
	s.prometheus.checkUndisturbed(t, began)
}

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

func agreeOnJobs(ctx context.Context, head *realray.Head, page page) error {
	jobs, err := head.Jobs(ctx)
	if err != nil {
		return err
	}
	counts := map[[2]string]float64{}
	for _, j := range jobs {
		if j.Type == "DRIVER" && j.Terminal() {
			j.Status = "ENDED" // Ray says SUCCEEDED whatever happened
		}
		counts[[2]string{j.Type, j.Status}]++
	}
	for _, status := range []string{"PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"} {
		err := page.want(counts[[2]string{"SUBMISSION", status}], "raytap_jobs", "ray_cluster=e2e", "type=SUBMISSION", "status="+status)
		if err != nil {
			return err
		}
	}
	return nil
}

func agreeOnTasks(ctx context.Context, head *realray.Head, page page, job string) error {
	var answer struct {
		Data struct {
			Result struct {
				Result []struct{ State string }
			}
		}
	}
	query := url.Values{"limit": {"10000"}, "filter_keys": {"job_id"}, "filter_predicates": {"="}, "filter_values": {job}}
	if err := head.Do(ctx, http.MethodGet, "/api/v0/tasks?"+query.Encode(), nil, &answer); err != nil {
		return err
	}
	counts := map[string]float64{}
	for _, task := range answer.Data.Result.Result {
		counts[task.State]++
	}
	if counts["RUNNING"] != 2 || counts["PENDING_NODE_ASSIGNMENT"] != 3 {
		return fmt.Errorf("the API does not say yet that 2 tasks run and 3 wait: %v", counts)
	}
	for state, n := range counts {
		if err := page.want(n, "raytap_tasks", "ray_cluster=e2e", "job_id="+job, "state="+state); err != nil {
			return err
		}
	}
	return nil
}

func agreeOnServe(ctx context.Context, head *realray.Head, page page) error {
	var answer struct {
		Applications map[string]struct {
			Status      string
			Deployments map[string]struct {
				Status   string
				Target   float64 `json:"target_num_replicas"`
				Replicas []struct{ State string }
			}
		}
	}
	if err := head.Do(ctx, http.MethodGet, "/api/serve/applications/", nil, &answer); err != nil {
		return err
	}
	app := answer.Applications["greeter"]
	deployment := app.Deployments["Greeter"]
	if app.Status != "RUNNING" || deployment.Status != "HEALTHY" || len(deployment.Replicas) != 2 {
		return fmt.Errorf("the API does not say yet that the application runs: %+v", app)
	}
	return firstError(
		page.want(1, "raytap_serve_application_status", "application=greeter", "status=RUNNING"),
		page.want(1, "raytap_serve_deployment_status", "deployment=Greeter", "status=HEALTHY"),
		page.want(deployment.Target, "raytap_serve_deployment_target_replicas", "deployment=Greeter"),
		page.want(2, "raytap_serve_deployment_replicas", "deployment=Greeter", "state=RUNNING"),
	)
}

func collectorsSucceed(page page) error {
	for _, m := range page["raytap_collector_success"].GetMetric() {
		if value(m) != 1 {
			return fmt.Errorf("a collector failed: %v", m)
		}
	}
	return page.want(1, "raytap_up", "ray_cluster=e2e")
}

// failAndBeShown has a job fail. The page has to show it with the first job list
// that raytap asks for after Ray says so; how often it asks depends on how long
// Ray takes to answer.
func failAndBeShown(t *testing.T, head *realray.Head, d *daemon) (id string) {
	t.Helper()
	jobs := submitAll(t, head, []printer{{Mode: "lines", Count: 20, Seconds: 3, Exit: 1}})
	waitAll(t, head, time.Minute, jobs)
	start := time.Now()
	lists := func(p page) float64 {
		n, _ := p.sum("raytap_api_request_duration_seconds", "ray_cluster=e2e", "endpoint=/api/jobs/")
		return n
	}
	// One may be under way, one has come since the page that is compared was begun.
	most := lists(d.mustPage(t)) + 2
	if most == 2 {
		t.Fatal("the page counts no job lists")
	}
	eventually(t, 2*time.Minute, "the job is shown as failed", func() error {
		p := d.mustPage(t)
		err := p.want(1, "raytap_job_status", "submission_id="+jobs[0].id, "status=FAILED")
		if n := lists(p); err != nil && n > most {
			t.Fatalf("%g job lists later: %v", n-most+2, err)
		}
		return err
	})
	t.Logf("a failed job was shown as failed %.1f s after the API said so", time.Since(start).Seconds())
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

// checkReference fails the test if the page has a family of which docs/metrics.md
// does not tell.
func checkReference(t *testing.T, page page) {
	t.Helper()
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for name, family := range page {
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
		told, _, _ := strings.Cut(section, ".")
		for _, label := range family.GetMetric()[0].GetLabel() {
			if !strings.Contains(told, "`"+label.GetName()+"`") {
				t.Errorf("docs/metrics.md does not tell of the label %s of %s", label.GetName(), name)
			}
		}
	}
	t.Logf("%d families of the page are in docs/metrics.md", checked)
}
