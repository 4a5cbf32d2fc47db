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

// tasksScript has two tasks that run, three that wait for a resource that no node
// has, and five that are done, until its input ends.
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

// agreeOnMetrics holds raytap's page against Ray's own answers, at a moment when
// the tasks' job is where its script says, and ends it.
func agreeOnMetrics(t *testing.T, head *realray.Head, w *way, tasks string) {
	t.Helper()
	eventually(t, 5*time.Minute, "the page agrees with Ray", func() error { // a list that took 5 s is used for 250 s
		info, err := head.Job(t.Context(), tasks)
		if err != nil || info.JobID == "" {
			return fmt.Errorf("job %s has the job_id %q (%v)", tasks, info.JobID, err)
		}
		page, err := getPage(w.url + "/metrics")
		if err != nil {
			return err
		}
		return errors.Join(agreeOnJobs(t, head, page), agreeOnNodes(t, head, page), agreeOnTasks(t, head, page, info.JobID), collectorsSucceed(page))
	})
	if err := head.StopJob(t.Context(), tasks); err != nil {
		t.Error(err)
	}
}

type page map[string]*dto.MetricFamily

func getPage(url string) (page, error) {
	body := program.Get(url)
	if body == "" {
		return nil, fmt.Errorf("%s gives nothing", url)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader([]byte(body)))
}

// values gives the samples of a family with certain labels, by the value of one.
func (p page) values(name, by string, with ...string) map[string]float64 {
	got := map[string]float64{}
samples:
	for _, m := range p[name].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		for _, pair := range with {
			key, value, _ := strings.Cut(pair, "=")
			if labels[key] != value {
				continue samples
			}
		}
		if v := m.GetGauge().GetValue() + m.GetCounter().GetValue(); v != 0 {
			got[labels[by]] += v
		}
	}
	return got
}

func same(what string, ray, page map[string]float64) error {
	if len(ray) == 0 {
		return errors.New("Ray tells of no " + what)
	}
	if fmt.Sprint(ray) != fmt.Sprint(page) {
		return fmt.Errorf("%s: Ray tells %v, the page %v", what, ray, page)
	}
	return nil
}

func agreeOnJobs(t *testing.T, head *realray.Head, page page) error {
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
	return same("jobs", want, page.values("raytap_jobs", "status", "type=SUBMISSION"))
}

// rows are the rows of a list of the State API, counted by one key.
func rows(t *testing.T, head *realray.Head, path, by string) (map[string]float64, error) {
	var answer struct {
		Data struct {
			Result struct{ Result []map[string]any }
		}
	}
	if err := head.Do(t.Context(), http.MethodGet, path, nil, &answer); err != nil {
		return nil, err
	}
	count := map[string]float64{}
	for _, row := range answer.Data.Result.Result {
		count[fmt.Sprint(row[by])]++
	}
	return count, nil
}

func agreeOnNodes(t *testing.T, head *realray.Head, page page) error {
	want, err := rows(t, head, "/api/v0/nodes", "state")
	if err != nil {
		return err
	}
	return errors.Join(same("nodes", want, page.values("raytap_nodes", "state")),
		same("CPUs", map[string]float64{"CPU": 8}, page.values("raytap_node_resources", "resource", "resource=CPU")))
}

func agreeOnTasks(t *testing.T, head *realray.Head, page page, jobID string) error {
	query := url.Values{"limit": {"1000"}, "filter_keys": {"job_id"}, "filter_predicates": {"="}, "filter_values": {jobID}}
	want, err := rows(t, head, "/api/v0/tasks?"+query.Encode(), "state")
	switch {
	case err != nil:
		return err
	case want["RUNNING"] != 2 || want["PENDING_NODE_ASSIGNMENT"] != 3 || want["FINISHED"] < 5:
		return fmt.Errorf("Ray does not say yet that 2 tasks run, 3 wait and 5 are done: %v", want)
	}
	unfinished := page.values("raytap_tasks", "state", "job_id="+jobID)
	for state, n := range want {
		if state != "FINISHED" && unfinished[state] != n {
			return fmt.Errorf("tasks: Ray tells %v, the page %v", want, unfinished)
		}
	}
	return nil
}

func collectorsSucceed(page page) error {
	for _, m := range page["raytap_collector_success"].GetMetric() {
		if m.GetGauge().GetValue() != 1 {
			return fmt.Errorf("a collector fails: %v", m)
		}
	}
	return same("up", map[string]float64{"compat": 1}, page.values("raytap_up", "ray_cluster"))
}
