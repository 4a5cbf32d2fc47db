//go:build e2e && linux

package compat

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"raytap/test/program"
	"raytap/test/realray"
)

// tasksScript has two running tasks, three that wait for a resource that no node has, and
// five that have finished.
const tasksScript = `python3 -c "
import ray, time
ray.init('auto', log_to_driver=False)
@ray.remote(num_cpus=1)
def run(seconds):
    time.sleep(seconds)
@ray.remote(num_cpus=1000)
def wait():
    pass
ray.get([run.remote(0) for _ in range(5)])
held = [run.remote(100000) for _ in range(2)] + [wait.remote() for _ in range(3)]
print('tasks are submitted', flush=True)
time.sleep(100000)
"`

func submitTasks(t *testing.T, head *realray.Head) (id string) {
	t.Helper()
	id, err := head.Submit(t.Context(), realray.Submission{Entrypoint: tasksScript, Metadata: map[string]string{"job_name": "tasks"}})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// compareMetrics waits until raytap's metrics agree with Ray's API and the tasks are in
// the states of tasksScript. Then it stops their job.
func compareMetrics(t *testing.T, head *realray.Head, w *setup, tasks string) {
	t.Helper()
	eventually(t, 5*time.Minute, "the metrics agree with Ray", func() error { // a list that took 5 s is cached for 250 s
		info, err := head.Job(t.Context(), tasks)
		if err != nil || info.JobID == "" {
			return fmt.Errorf("job %s has the job_id %q (%v)", tasks, info.JobID, err)
		}
		metrics, err := getMetrics(w.url + "/metrics")
		if err != nil {
			return err
		}
		return errors.Join(compareJobs(t, head, metrics), compareNodes(t, head, metrics), compareTasks(t, head, metrics, info.JobID), checkCollectors(metrics))
	})
	if err := head.StopJob(t.Context(), tasks); err != nil {
		t.Error(err)
	}
}

type metrics map[string]*dto.MetricFamily

func getMetrics(url string) (metrics, error) {
	body := program.Get(url)
	if body == "" {
		return nil, fmt.Errorf("scrape %s: no response", url)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader([]byte(body)))
}

// values returns the samples of a family with certain labels, by the value of one label.
func (m metrics) values(name, by string, with ...string) map[string]float64 {
	got := map[string]float64{}
samples:
	for _, series := range m[name].GetMetric() {
		labels := map[string]string{}
		for _, l := range series.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		for _, pair := range with {
			key, value, _ := strings.Cut(pair, "=")
			if labels[key] != value {
				continue samples
			}
		}
		if v := series.GetGauge().GetValue() + series.GetCounter().GetValue(); v != 0 {
			got[labels[by]] += v
		}
	}
	return got
}

func same(what string, ray, metrics map[string]float64) error {
	if len(ray) == 0 {
		return errors.New("Ray has no " + what)
	}
	if fmt.Sprint(ray) != fmt.Sprint(metrics) {
		return fmt.Errorf("%s: Ray has %v, the metrics have %v", what, ray, metrics)
	}
	return nil
}

func compareJobs(t *testing.T, head *realray.Head, metrics metrics) error {
	jobs, err := head.Jobs(t.Context())
	if err != nil {
		return err
	}
	want := map[string]float64{}
	for _, j := range jobs {
		if j.Type == "SUBMISSION" {
			want[j.Status]++
		}
	}
	return same("jobs", want, metrics.values("raytap_jobs", "status", "type=SUBMISSION"))
}

// rows counts the rows of a State API list by the value of one key.
func rows(t *testing.T, head *realray.Head, path, by string) (map[string]float64, error) {
	var res struct {
		Data struct {
			Result struct{ Result []map[string]any }
		}
	}
	if err := head.Do(t.Context(), http.MethodGet, path, nil, &res); err != nil {
		return nil, err
	}
	count := map[string]float64{}
	for _, row := range res.Data.Result.Result {
		count[fmt.Sprint(row[by])]++
	}
	return count, nil
}

func compareNodes(t *testing.T, head *realray.Head, metrics metrics) error {
	want, err := rows(t, head, "/api/v0/nodes", "state")
	if err != nil {
		return err
	}
	return errors.Join(same("nodes", want, metrics.values("raytap_nodes", "state")),
		same("CPUs", map[string]float64{"CPU": 8}, metrics.values("raytap_node_resources", "resource", "resource=CPU")))
}

func compareTasks(t *testing.T, head *realray.Head, metrics metrics, jobID string) error {
	query := url.Values{"limit": {"1000"}, "filter_keys": {"job_id"}, "filter_predicates": {"="}, "filter_values": {jobID}}
	want, err := rows(t, head, "/api/v0/tasks?"+query.Encode(), "state")
	switch {
	case err != nil:
		return err
	case want["RUNNING"] != 2 || want["PENDING_NODE_ASSIGNMENT"] != 3 || want["FINISHED"] < 5:
		return fmt.Errorf("want 2 tasks RUNNING, 3 PENDING_NODE_ASSIGNMENT and 5 FINISHED in Ray: %v", want)
	}
	unfinished := metrics.values("raytap_tasks", "state", "job_id="+jobID)
	for state, n := range want {
		if state != "FINISHED" && unfinished[state] != n {
			return fmt.Errorf("tasks: Ray has %v, the metrics have %v", want, unfinished)
		}
	}
	return nil
}

func checkCollectors(metrics metrics) error {
	for _, m := range metrics["raytap_collector_success"].GetMetric() {
		if m.GetGauge().GetValue() != 1 {
			return fmt.Errorf("a collector failed: %v", m)
		}
	}
	return same("up", map[string]float64{"compat": 1}, metrics.values("raytap_up", "ray_cluster"))
}
