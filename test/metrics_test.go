//go:build e2e && linux

package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"raytap/test/program"
	"raytap/test/realray"
)

func TestMetricsAgreeWithWhatTheAPISays(t *testing.T) {
	head := sharedHead(t)
	d := startDaemon(t, head, settings{Sink: filepath.Join(t.TempDir(), "raytap.jsonl")})
	prometheus := startPrometheus(t, d)

	ctx := within(t, 3*time.Minute)
	if err := head.DeployServe(ctx, freePort(t), "greeter", "greeter:app"); err != nil {
		t.Fatal(err)
	}
	jobs := submitAll(t, head, []printer{
		{Mode: "lines", Count: 1000, Seconds: 1000, Name: "running"},
		{Mode: "lines", Count: 10, Seconds: 1, Name: "done"},
		{Mode: "lines", Count: 10, Seconds: 1, Name: "failed", Exit: 3},
	})
	tasks := submitScript(ctx, t, head, "tasks.py 1000", 0)
	pending := submitScript(ctx, t, head, "chatty.py", 1000)
	t.Cleanup(func() {
		for _, id := range []string{jobs[0].id, tasks, pending} {
			_ = head.StopJob(context.Background(), id) // the head's end stops it at the latest
		}
	})
	waitAll(t, head, time.Minute, jobs[1:])
	driver, err := head.WaitJob(ctx, tasks, func(j realray.JobInfo) bool { return j.JobID != "" })
	if err != nil {
		t.Fatal(err)
	}

	// The task list, the slowest, is asked for every 30 s.
	eventually(t, 90*time.Second, "the page agrees with the API", func() error {
		page, err := d.page(t)
		if err != nil {
			return err
		}
		return firstError(
			agreeOnJobs(ctx, head, page),
			page.want(1, "raytap_job_status", "submission_id="+jobs[0].id, "status=RUNNING"),
			page.want(1, "raytap_job_status", "submission_id="+jobs[1].id, "status=SUCCEEDED"),
			page.want(1, "raytap_job_status", "submission_id="+jobs[2].id, "status=FAILED"),
			page.want(3, "raytap_job_driver_exit_code", "submission_id="+jobs[2].id),
			page.want(1, "raytap_job_status", "submission_id="+pending, "status=PENDING"),
			page.want(1, "raytap_nodes", "state=ALIVE"),
			page.want(8, "raytap_cluster_resources", "resource=CPU"),
			agreeOnTasks(ctx, head, page, driver.JobID),
			agreeOnServe(ctx, head, page),
			collectorsSucceed(page),
		)
	})
	failWithinOneScrape(t, head, d)
	promtoolCheck(t, d)
	prometheus.check(t)
	prometheus.checkDashboards(t)
	prometheus.checkRules(t, jobs[2].id)
	checkReference(t, d.mustPage(t))
}

func submitScript(ctx context.Context, t *testing.T, head *realray.Head, script string, cpus float64) string {
	t.Helper()
	dir, err := filepath.Abs("../deploy/demo")
	if err != nil {
		t.Fatal(err)
	}
	id, err := head.Submit(ctx, realray.Submission{
		Entrypoint: fmt.Sprintf("cd '%s' && exec python3 %s", dir, script), CPUs: cpus,
	})
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
		err := page.want(counts[[2]string{"SUBMISSION", status}], "raytap_jobs", "type=SUBMISSION", "status="+status)
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
		if err := page.want(n, "raytap_tasks", "job_id="+job, "state="+state); err != nil {
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
	return page.want(1, "raytap_up")
}

// usualScrape is a short scrape interval; a longer one sees no more.
const usualScrape = 10 * time.Second

func failWithinOneScrape(t *testing.T, head *realray.Head, d *daemon) {
	t.Helper()
	jobs := submitAll(t, head, []printer{{Mode: "lines", Count: 20, Seconds: 3, Exit: 1}})
	waitAll(t, head, time.Minute, jobs)
	start := time.Now()
	eventually(t, usualScrape, "the job is shown as failed", func() error {
		return d.mustPage(t).want(1, "raytap_job_status", "submission_id="+jobs[0].id, "status=FAILED")
	})
	t.Logf("a failed job was shown as failed %.1f s after the API said so", time.Since(start).Seconds())
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

// prometheus is a real Prometheus that scrapes a raytap, and evaluates its rules,
// every two seconds.
type prometheus struct{ url string }

func startPrometheus(t *testing.T, d *daemon) prometheus {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	err := os.WriteFile(config, fmt.Appendf(nil, `global: {scrape_interval: 2s, evaluation_interval: 2s}
rule_files: %s
scrape_configs:
  - job_name: raytap
    static_configs: [{targets: [%q]}]
`, ruleFiles(t), strings.TrimPrefix(d.url, "http://")), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	listen := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	startServer(t, "prometheus", "--config.file="+config, "--web.listen-address="+listen,
		"--storage.tsdb.path="+filepath.Join(dir, "data"))
	return prometheus{"http://" + listen}
}

// check fails the test if a scrape failed or brought nothing.
func (p prometheus) check(t *testing.T) {
	t.Helper()
	const least = 10
	var scrapes float64
	eventually(t, time.Minute, "Prometheus has scraped for a while", func() (err error) {
		scrapes, err = p.query(t, `count_over_time(up{job="raytap"}[10m])`)
		if err == nil && scrapes < least {
			err = fmt.Errorf("%g scrapes", scrapes)
		}
		return err
	})
	up, err := p.query(t, `sum_over_time(up{job="raytap"}[10m])`)
	if err != nil {
		t.Fatal(err)
	}
	samples, err := p.query(t, `min_over_time(scrape_samples_scraped{job="raytap"}[10m])`)
	if err != nil {
		t.Fatal(err)
	}
	if up < scrapes || samples < 50 {
		t.Errorf("of %g scrapes %g succeeded; the smallest brought %g samples", scrapes, up, samples)
	}
	seconds, err := p.query(t, `max_over_time(scrape_duration_seconds{job="raytap"}[10m])`)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("Prometheus: %g scrapes, none failed, at least %g samples each, the slowest took %.3f s", scrapes, samples, seconds)
}

func (p prometheus) query(t *testing.T, query string) (float64, error) {
	t.Helper()
	body, err := get(t.Context(), p.url+"/api/v1/query?"+url.Values{"query": {query}}.Encode())
	if err != nil {
		return 0, err
	}
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, err
	}
	if len(answer.Data.Result) != 1 {
		return 0, fmt.Errorf("query %s: %d results", query, len(answer.Data.Result))
	}
	return strconv.ParseFloat(fmt.Sprint(answer.Data.Result[0].Value[1]), 64)
}
