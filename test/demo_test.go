//go:build e2e && linux

package test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"raytap/test/program"
	"raytap/test/realray"
)

func TestDemo(t *testing.T) {
	t.Parallel() // it has its own head
	demo := filepath.Join(t.TempDir(), "demo")
	if err := program.Build(demo, "raytap/deploy/demo"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(demo, "-seconds", "75", "-raytap", program.Binary(t),
		"-ray", program.Tool(t, "ray/bin/ray"), "-scripts", "../deploy/demo")
	// The demo must not use the user's Ray.
	cmd.Env = append(realray.CleanEnv(), "RAY_ADDRESS=http://127.0.0.1:1", "RAY_AUTH_TOKEN=of-another-cluster")
	start := time.Now()
	p := program.Start(t, cmd)
	if code := p.Wait(3 * time.Minute); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	t.Logf("the demo took %.0f s", time.Since(start).Seconds())

	checkOutput(t, p.Output.String())
}

func checkOutput(t *testing.T, output string) {
	t.Helper()
	seen := map[string]bool{}
	for line := range strings.Lines(output) {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		if worker := kindOfWorker(line); worker != "" {
			seen[worker] = true
			continue
		}
		r, err := parseRecord([]byte(line))
		if err != nil {
			t.Errorf("invalid record: %v", err)
			continue
		}
		seen[r.JobName+" "+r.Event] = true
		if r.JobName == "failing" && strings.HasPrefix(*r.Message, "ValueError: row 5") {
			seen["traceback"] = true
		}
		if r.JobName == "failing" && r.Event == "end" && r.Status == "FAILED" {
			seen["failure"] = true
		}
	}
	for _, want := range []string{"chatty start", "chatty ", "progress ", "tasks ", "failing ", "traceback", "failure", "task", "actor", "replica"} {
		if !seen[want] {
			t.Errorf("the demo does not show this kind of record: %q", want)
		}
	}
	for _, want := range []string{
		`(?m)^ *raytap_up\{ray_cluster="default"\} 1$`,
		`(?m)^ *raytap_jobs\{.*status="PENDING".*\} 1$`,
		`(?m)^ *raytap_nodes\{.*state="ALIVE".*\} 1$`,
		`(?m)^ *raytap_tasks\{.*state="PENDING_NODE_ASSIGNMENT".*\} 3$`,
		`(?m)^ *raytap_serve_application_status\{.*application="greeter".*status="RUNNING".*\} 1$`,
		`(?m)^ *raytap_shipper_lines_total\{.*\} [1-9]`,
		`==> shipped so far: [1-9]\d* lines of driver logs, [1-9]\d* of tasks, actors and other workers, [1-9]\d* of Serve replicas`,
		`==> stopped`,
	} {
		if !regexp.MustCompile(want).MatchString(output) {
			t.Errorf("the demo does not show %s", want)
		}
	}
}

// kindOfWorker returns what has printed a record of a worker's log: a task, an actor or a
// replica; "other" for what Ray prints there itself, and "" for other records.
func kindOfWorker(line string) string {
	var r struct {
		Source, Message, Deployment string
		Job                         string `json:"job_name"`
		Actor                       string `json:"actor_name"`
		Task                        string `json:"task_name"`
	}
	if json.Unmarshal([]byte(line), &r) != nil || r.Source != "worker" {
		return ""
	}
	switch {
	case r.Deployment == "Greeter" && strings.HasPrefix(r.Message, "replica: greets"):
		return "replica"
	case r.Job == "tasks" && r.Task == "crunch" && strings.HasPrefix(r.Message, "task: crunching"):
		return "task"
	case r.Job == "actors" && r.Actor == "Trainer" && strings.HasPrefix(r.Message, "actor: step"):
		return "actor"
	}
	return "other"
}
