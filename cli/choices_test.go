package cli

import (
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kingpin/v2"

	"raytap/ray"
)

// parse parses a command line and runs nothing.
func parse(args ...string) error {
	app := kingpin.New("raytap", "").Terminate(func(int) {})
	New(app, Options{ConnectFlags: func(Flags) {}, Connect: func() (Cluster, error) { return nil, nil }})
	_, err := app.Parse(args)
	return err
}

// A filter that can match nothing is a mistake, not an empty list.
func TestFiltersTakeWhatThereIs(t *testing.T) {
	for line, want := range map[string]string{ // a part of the error; "" is none
		"jobs list --status running,FAILED --status Pending": "",
		"jobs list --status FAILD":                           `--status "FAILD" is unknown; known are PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED`,
		"jobs list --status running,,failed":                 `--status "" is unknown`,
		"jobs list --type driver":                            "",
		"jobs list --type job":                               `--type "job" is unknown; known are SUBMISSION, DRIVER`,
		"nodes list --state alive":                           "",
		"nodes list --state idle":                            `--state "idle" is unknown; known are ALIVE, DEAD`,
		"tasks list --state running --type actor_task":       "",
		"tasks list --state waiting":                         `--state "waiting" is unknown`,
		"tasks list --type x":                                `--type "x" is unknown`,
		"serve list --status running,unhealthy":              "",
		"serve list --status up":                             `--status "up" is unknown`,
		"jobs list --limit abc":                              `--limit "abc" is not a whole number from 0 on`,
		"jobs list --limit 1.5":                              `--limit "1.5" is not a whole number from 0 on`,
		"jobs list --limit=-1":                               `--limit "-1" is not a whole number from 0 on`,
		"jobs list --limit 0":                                "",
		"jobs tail --lines x j":                              `--lines "x" is not a whole number from 0 on`,
		"jobs tail -f --max-lines x j":                       `--max-lines "x" is not a whole number from 0 on`,
	} {
		err := parse(strings.Fields(line)...)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "strconv")) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	var got []string
	c := choices{"status", jobStatuses(), &got}
	if err := c.Set("running, failed"); err != nil || !slices.Equal(got, []string{"RUNNING", "FAILED"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

// A text is a text for readers of YAML 1.1, too.
func TestYAMLKeepsTextsForOlderReaders(t *testing.T) {
	texts := []string{"=", "<<", "y", "N", "yes", "On", "off", "~", "null", "NULL", "", "true", "0o7", "010", "0x1F", "0b1", "1_000", "190:20:30", "1:30.5",
		"1.", ".5", "+.INF", ".NaN", "1e3", "2026-11-24", "2026-1-2 3:4:5 +1", "12e03", "plain", "raysubmit_1"}
	var jobs []ray.Job
	for _, s := range texts {
		jobs = append(jobs, ray.Job{SubmissionID: "id", Metadata: map[string]string{"job_name": s, s + "": s}, Status: ray.JobRunning})
	}
	s := newScreen("")
	if err := listJobs(context.Background(), &fake{jobs: jobs}, jobFilter{}, s.printer(formYAML)); err != nil {
		t.Fatal(err)
	}
	out := s.out.String()
	for _, text := range texts[:len(texts)-2] {
		if !strings.Contains(out, "job_name: \""+text+"\"\n") && !strings.Contains(out, "job_name: '"+text+"'\n") {
			t.Errorf("%q is not in quotes", text)
		}
	}
	if !strings.Contains(out, "job_name: plain\n") {
		t.Error("what needs no quotes has them")
	}
	python, err := exec.LookPath("python3")
	if err != nil || exec.Command(python, "-c", "import yaml").Run() != nil {
		return // the table has to do
	}
	cmd := exec.Command(python, "-c", "import json, sys, yaml; print(json.dumps([j['metadata']['job_name'] for j in yaml.safe_load(sys.stdin)]))")
	cmd.Stdin = strings.NewReader(out)
	answer, err := cmd.CombinedOutput()
	var read []string
	if err != nil || json.Unmarshal(answer, &read) != nil || !slices.Equal(read, texts) {
		t.Errorf("PyYAML reads %s, %v", answer, err)
	}
}
